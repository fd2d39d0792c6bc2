"""Statements as M-Pesa's portals write them, made by hand, and a minimal writer of spreadsheets."""

import csv
import io
import struct
import zipfile
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from sqlalchemy import select, text

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db
from portal.reconciliation import runs
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.reconciliation.rows import BUCKETS
from portal.simulator.engine.statement import LEGACY, NEWER, STORE
from portal.tenants.models import Tenant
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product

Line = tuple[str, datetime, str, int, str, str]  # receipt, at, words, signed cents, account, linked receipt


def shillings(amount_cents: int, *, grouped: bool = False) -> str:
    sign, rest = ("-" if amount_cents < 0 else ""), abs(amount_cents)
    return f"{sign}{rest // 100:,}.{rest % 100:02d}" if grouped else f"{sign}{rest // 100}.{rest % 100:02d}"


def table(
    lines: list[Line],
    layout: str,
    *,
    shortcode: str = "600111",
    sums: tuple[int, int] | None = None,
    has_footer: bool = False,
) -> list[list[str]]:
    """The cells of a statement, preamble and headings included; has_footer: its totals stand below its rows."""
    into = sum(line[3] for line in lines if line[3] > 0)
    out = sum(line[3] for line in lines if line[3] < 0)
    if layout == "legacy":
        into, out = sums or (into, out)
        head = [
            ["Account Holder:", "MLIMA HOUSE"], ["Short Code:", shortcode], ["Account:", "Utility Account"], [],
            ["Total Paid In:", shillings(into), "Total Withdrawn:", shillings(out)], list(LEGACY),
        ]  # fmt: skip
    else:
        head = [list(NEWER if layout == "newer" else STORE)]
    return head + [_row(line, layout) for line in lines] + ([_footer(into, out, layout)] if has_footer else [])


def _footer(into: int, out: int, layout: str) -> list[str]:
    headings = list({"legacy": LEGACY, "newer": NEWER, "store": STORE}[layout])
    cells = [""] * len(headings)
    cells[0] = "Total"
    sides = ("CREDIT_AMOUNT", "DEBIT_AMOUNT") if layout == "store" else ("Paid In", "Withdrawn")
    for side, amount in zip(sides, (into, abs(out)), strict=True):
        cells[next(place for place, name in enumerate(headings) if name.startswith(side))] = shillings(amount)
    return cells


def _row(line: Line, layout: str) -> list[str]:
    receipt, at, words, amount, account, linked = line
    local = clock.nairobi(at)
    party = "SP" if "harge" in words else "25471****126 - JOHN DOE"
    tail = f" Acc. {account}" if account else ""
    details = words if "harge" in words else f"{words} {'from' if amount > 0 else 'to'} {party}{tail}"
    into, out = (amount, 0) if amount > 0 else (0, amount)
    if layout == "legacy":
        day = f"{local:%d-%m-%Y %H:%M:%S}"
        return [
            receipt, day, day, details, "Completed", shillings(into) if into else "", shillings(out) if out else "",
            "0.00", "TRUE", words, party, linked, account, "KES",
        ]  # fmt: skip
    if layout == "newer":
        return [
            receipt, f"{local:%d/%m/%Y %H:%M:%S}", details, "Completed",
            shillings(into, grouped=True) if into else "", shillings(out, grouped=True) if out else "", "0.00",
        ]  # fmt: skip
    return [
        "MLIMA HOUSE", receipt, "Merchant Account", words, f"{local:%Y-%m-%d %H:%M:%S}", party,
        shillings(into) if into else "", shillings(abs(out)) if out else "", "0.00", linked,
    ]  # fmt: skip


def as_csv(cells: list[list[str]], *, delimiter: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerows(cells)
    return out.getvalue().encode()


def as_xlsx(cells: list[list[str]], *, numbers: bool = True) -> bytes:
    """The smallest workbook that spreadsheets take; what looks like a plain number becomes one."""
    rows = []
    for number, row in enumerate(cells, 1):
        inside = "".join(_cell(f"{chr(65 + place)}{number}", text, numbers) for place, text in enumerate(row) if text)
        rows.append(f'<row r="{number}">{inside}</row>')
    return workbook(f"<sheetData>{''.join(rows)}</sheetData>")


def _cell(where: str, text: str, numbers: bool) -> str:
    if numbers and text.replace(".", "", 1).removeprefix("-").isdigit() and "." in text:
        return f'<c r="{where}"><v>{text}</v></c>'
    return f'<c r="{where}" t="inlineStr"><is><t>{escape(text)}</t></is></c>'


def workbook(sheet_data: str) -> bytes:
    """A zip with one worksheet of this data."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="transaction" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}">{sheet_data}</worksheet>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def as_xls(cells: list[list[str]]) -> bytes:
    """The smallest Excel 97 file: BIFF8 records in an OLE2 container. Texts only, as M-Pesa's portal wrote them."""
    return _ole2(_biff8(cells))


def _record(kind: int, data: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def _biff8(cells: list[list[str]]) -> bytes:
    def begin(what: int) -> bytes:
        return _record(0x0809, struct.pack("<HHHHII", 0x0600, what, 0, 0, 0, 0))

    name = b"transaction"
    head, end = begin(5), _record(0x0A)
    sheet_at = len(head) + 4 + 8 + len(name) + len(end)
    bound = _record(0x85, struct.pack("<IBBBB", sheet_at, 0, 0, len(name), 0) + name)
    sheet = begin(0x10) + _record(0x0200, struct.pack("<IIHHH", 0, len(cells), 0, max(map(len, cells)), 0))
    for row, texts in enumerate(cells):
        for place, word in enumerate(texts):
            if word:
                encoded = word.encode("utf-16-le")
                sheet += _record(0x0204, struct.pack("<HHHHB", row, place, 0, len(word), 1) + encoded)
    return head + bound + end + sheet + _record(0x0A)


def _ole2(stream: bytes) -> bytes:
    sector, free, last = 512, 0xFFFFFFFF, 0xFFFFFFFE
    stream = stream.ljust(max(4096, -(-len(stream) // sector) * sector), b"\0")
    count = len(stream) // sector
    chain = [0xFFFFFFFD, last, *range(3, 2 + count), last]  # the table itself, the directory, the stream
    fat = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIIII", 0, 1, 1, 0, 4096, last, 0, last, 0, 0) + struct.pack("<108I", *[free] * 108)

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        spelt = (name + "\0").encode("utf-16-le") if name else b""
        return (
            spelt.ljust(64, b"\0") + struct.pack("<HBBIII", len(spelt), kind, 1, free, free, child)
            + bytes(36) + struct.pack("<IQ", start, size)
        )  # fmt: skip

    directory = (
        entry("Root Entry", 5, 1, last, 0) + entry("Workbook", 2, free, 2, len(stream)) + entry("", 0, free, 0, 0) * 2
    )
    return header + fat + directory + stream


CHARGE, PAY, REVERSAL, PAYOUT = (
    "Pay Bill Charge",
    "Pay Bill",
    "Transaction Reversal via API",
    "Business Payment to Customer via API",
)


def ago(minutes: float) -> datetime:
    return (clock.now() - timedelta(minutes=minutes)).replace(microsecond=0)


def by_hand(product: Product, number: int, amount: float, account: str, slug: str = "mlima") -> str:
    """Money that M-Pesa told us of."""
    shortcode = "600111" if slug == "mlima" else "600222"
    body = c2b_body(receipt=receipt(number), amount=amount, account=account, shortcode=shortcode)
    assert product.client().post(f"{product.hook(slug)}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    return receipt(number)


def run(product: Product, lines: list[Line], *, layout: str = "legacy", slug: str = "mlima") -> dict[str, int]:
    """Compare a statement of these lines and accept it; the counts of its report."""
    shortcode = "600111" if slug == "mlima" else "600222"
    content = as_csv(table(lines, layout, shortcode=shortcode, has_footer=layout != "legacy"))
    with product.inside():
        gateways = db.session.query(Gateway).join(Tenant, Tenant.id == Gateway.tenant_id)
        gateway = gateways.filter(Tenant.slug == slug).one()
        statement = runs.read_statement(content, name="statement.csv", gateway=gateway)
        made = runs.run(gateway.id, statement, user_id=None, actor="test")
        runs.accept(made, user_id=None, actor="test")
        return dict(db.session.get_one(Reconciliation, made).counts)


def counted(**buckets: int) -> dict[str, int]:
    """Counts as a report keeps them: what is not named is 0, and rows are those of the file."""
    whole = dict.fromkeys(BUCKETS, 0) | buckets
    return whole | {"rows": sum(whole.values()) - whole["missing_there"]}


def rows(product: Product, bucket: str = "") -> list[StatementRow]:
    """Rows of every report, oldest first."""
    with product.inside():
        found = select(StatementRow).order_by(StatementRow.id)
        return list(db.session.scalars(found.where(StatementRow.bucket == bucket) if bucket else found))


SWEEP = "Utility Account to Organization Settlement Account"


class PowerCut(BaseException):
    """Nothing that a program could catch and go on from."""


def form_of(fields: dict[str, str], content: bytes, name: str) -> tuple[bytes, str]:
    """(body, content type) of a form with a file: the test client would leave a large one's temporary file open."""
    disposition = "--b\r\nContent-Disposition: form-data; name="
    parts = [f'{disposition}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    head = f'{disposition}"file"; filename="{name}"\r\n\r\n'
    return "".join([*parts, head]).encode() + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


WRITTEN = (
    "transactions", "allocations", "ledger_journals", "ledger_lines", "statement_rows", "reconciliations", "transaction_sources",
)  # fmt: skip


def everything(product: Product) -> list[int]:
    """How much there is of all that reconciliation may write."""
    with product.inside():
        return [db.session.scalar(text(f"SELECT count(*) FROM {name}")) for name in WRITTEN]  # noqa: S608
