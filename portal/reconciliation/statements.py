"""An organisation's statement, read from the bytes of a file: three layouts, found by their headings.

    legacy  the organisation portal's: a preamble of labels and values, then `Receipt No.`, …, `Reason Type`, …
    newer   `Receipt No`, `Completion Time`, `Details`, …, everything about the payer packed into Details
    store   a till's daily extract: `RECEIPT_NUMBER`, …, `CREDIT_AMOUNT`, `DEBIT_AMOUNT`, …

Money is cents, times are UTC instants of what the file writes in East Africa Time, day before month.

Decided: what cannot be read is refused with its row and column, instead of skipped or guessed: a skipped row is money
that nobody misses, a guessed date is money on the wrong day.
Decided: columns are found by name wherever they stand, because Safaricom's exports differ in order and number.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from portal.gateways import messages
from portal.kernel import clock
from portal.kernel.errors import Sentence
from portal.kernel.money import CENTS, format_kes
from portal.reconciliation.files import HEAD_ROWS, StatementError, read_rows

MOST_ROWS, PROBLEMS_TOLD = 200_000, 5
COMPLETED = ("completed", "complete", "success")
# What a row is about, whatever the layout calls it.
PAYMENT, CHARGE, SWEEP, PAYOUT, REVERSAL = "payment", "charge", "sweep", "payout", "reversal"
_COLUMNS = {
    "legacy": {
        "receipt": "Receipt No.", "completed": "Completion Time", "details": "Details", "status": "Transaction Status",
        "paid_in": "Paid In", "withdrawn": "Withdrawn", "balance": "Balance", "kind": "Reason Type",
        "party": "Other Party Info", "linked": "Linked Transaction ID", "account": "A/C No.",
    },
    "store": {
        "receipt": "RECEIPT_NUMBER", "completed": "START_TIMESTAMP", "kind": "TRANSACTION_TYPE",
        "party": "TRANSACTION_PARTY_DETAILS", "paid_in": "CREDIT_AMOUNT", "withdrawn": "DEBIT_AMOUNT",
        "balance": "BALANCE", "linked": "LINKED_TRANSACTION_ID",
    },
    "newer": {
        "receipt": "Receipt No", "completed": "Completion Time", "details": "Details", "status": "Transaction Status",
        "paid_in": "Paid In", "withdrawn": "Withdrawn", "balance": "Balance",
    },
}  # fmt: skip
_OPTIONAL = {"linked", "account", "balance", "status", "party"}
_LABELS = {
    "accountholder": "holder", "organization": "holder", "organisation": "holder", "shortcode": "shortcode",
    "account": "account", "timeperiod": "period", "openingbalance": "opening", "closingbalance": "closing",
    "totalpaidin": "paid_in", "totalwithdrawn": "withdrawn",
}  # fmt: skip
# What the first cell of a row below the others may say instead of a receipt, and whether its columns are sums.
_FOOTERS = {
    "total": True, "totals": True, "grandtotal": True, "totalamount": True,
    "openingbalance": False, "closingbalance": False, "totalpaidin": False, "totalwithdrawn": False,
    "endofstatement": False, "endofreport": False,
}  # fmt: skip
_RECEIPT = re.compile(r"[A-Z0-9]{8,12}")
_DAY_FIRST = re.compile(r"(\d\d)[-/.](\d\d)[-/.](\d{4})[ T]+(\d\d):(\d\d)(?::(\d\d))?", re.ASCII)
_YEAR_FIRST = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T]+(\d\d):(\d\d)(?::(\d\d))?", re.ASCII)
_AMOUNT = re.compile(r"(-?)(\d{1,3}(?:,\d{3})+|\d{1,13})(?:\.(\d{1,2})0*)?", re.ASCII)
_IN_NAME = re.compile(r"Statements? for (\d{5,7})\b", re.IGNORECASE)
_PARTY = re.compile(r" (?:from|by) | to (?=[\d*+])")
_VIA = re.compile(r" via .+ by .*$")
_SWEEP = re.compile(
    r"\b(settlement|mmf|float|working|utility|merchant) account\b|organi[sz]ation .*\baccount\b"
    r"|withdrawal of funds|\bto bank\b"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One movement of money. number: the file's row, from 1; withdrawn_cents: not negative; kind: M-Pesa's words."""

    number: int
    receipt: str
    completed_at: datetime
    kind: str
    paid_in_cents: int
    withdrawn_cents: int
    status: str = "Completed"
    balance_cents: int | None = None
    account: str = ""
    linked_receipt: str = ""
    details: str = field(default="", repr=False)
    payer: messages.PayerId = field(default=messages.PayerId("missing", ""), repr=False)
    payer_name: str = field(default="", repr=False)

    @property
    def nature(self) -> str:
        """PAYMENT, CHARGE, SWEEP, PAYOUT or REVERSAL: by M-Pesa's words for it, never by what a payer wrote."""
        words = self.kind.lower()
        if "charge" in words or (self.withdrawn_cents and self.payer.text == "SP"):
            return CHARGE if self.withdrawn_cents or "revers" in words else PAYMENT
        if "revers" in words:
            return REVERSAL
        if _SWEEP.search(words):
            return SWEEP
        return PAYOUT if self.withdrawn_cents else PAYMENT

    @property
    def signed_cents(self) -> int:
        return self.paid_in_cents - self.withdrawn_cents


@dataclass(frozen=True)
class Statement:
    """A statement. shortcode, account: empty where the file names none. since, until: what it covers."""

    name: str
    layout: str
    digest: str
    rows: list[Row] = field(repr=False)
    shortcode: str = ""
    account: str = ""
    since: datetime | None = None
    until: datetime | None = None
    unproved: Sentence | None = None  # why its totals cannot be checked; None: they were, and add up
    content: bytes = field(default=b"", repr=False)

    @property
    def holds_customers_money(self) -> bool:
        """Whether what customers pay must be in it: a charges or settlement account's statement lacks it rightly."""
        return not re.search(r"charge|settlement|mmf|float", self.account.lower())


def read(content: bytes, *, name: str, shortcodes: set[str]) -> Statement:
    """The statement in `content`. shortcodes: the gateway's own; another's statement is refused.

    Raises StatementError with up to PROBLEMS_TOLD sentences.
    """
    name = re.sub(r"[\x00-\x1f\x7f]", "", name)[-80:] or "statement"
    rows = enumerate(read_rows(content, name=name), 1)
    layout, places, preamble = _find_header(rows, name)
    shortcode = _shortcode(preamble, name)
    if shortcode and shortcode not in shortcodes:
        raise StatementError(
            Sentence(
                "%(file)s is the statement of %(other)s; this gateway is %(own)s. Choose its own statement.",
                file=name,
                other=shortcode,
                own=" / ".join(sorted(shortcodes)),
            )
        )
    reader = _Reader(name, layout, places)
    found = reader.read(rows)
    stated = reader.footer | preamble
    _check_totals(stated, found, name)
    unproved = _prove(stated, found, name)
    _check_months(found, name)
    since, until = _period(preamble, found)
    return Statement(
        name=name,
        layout=layout,
        digest=hashlib.sha256(content).hexdigest(),
        rows=found,
        shortcode=shortcode,
        account=preamble.get("account", ""),
        since=since,
        until=until,
        unproved=unproved,
        content=content,
    )


def shortcode_in(content: bytes, *, name: str) -> str:
    """Whose statement the file, or its name, says it is; empty where neither does. Raises StatementError."""
    _layout, _places, preamble = _find_header(enumerate(read_rows(content, name=name), 1), name)
    return _shortcode(preamble, name)


def _shortcode(preamble: dict[str, str], name: str) -> str:
    stated = re.search(r"\d+", preamble.get("shortcode", ""))  # a spreadsheet makes `600111.0` of it
    named = _IN_NAME.search(name)
    return stated.group() if stated else named.group(1) if named else ""


def _bare(heading: str) -> str:
    """`Paid In (KSHs)`, `PAID_IN` and `Paid in` are one heading."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", heading.lower()))


def _find_header(rows: Iterator[tuple[int, list[str]]], name: str) -> tuple[str, dict[str, int], dict[str, str]]:
    """(layout, column of each of ours, what the preamble says). Leaves `rows` behind the headings."""
    preamble: dict[str, str] = {}
    for number, cells in rows:
        headings = [_bare(cell) for cell in cells]
        if "receiptno" in headings or "receiptnumber" in headings:
            layout = "store" if "receiptnumber" in headings else "legacy" if "reasontype" in headings else "newer"
            wanted = _COLUMNS[layout]
            places = {
                ours: headings.index(_bare(theirs)) for ours, theirs in wanted.items() if _bare(theirs) in headings
            }
            missing = [theirs for ours, theirs in wanted.items() if ours not in places and ours not in _OPTIONAL]
            if missing:
                raise StatementError(
                    Sentence(
                        "%(file)s, row %(row)s: the columns %(columns)s are missing. Export it again with all columns.",
                        file=name,
                        row=number,
                        columns=", ".join(missing),
                    )
                )
            return layout, places, preamble
        for label, value in zip(headings, cells[1:], strict=False):
            if label in _LABELS and value:
                preamble.setdefault(_LABELS[label], value[:200])
        if number >= HEAD_ROWS:
            break
    raise StatementError(
        Sentence(
            "%(file)s is no M-Pesa statement: none of its first %(rows)s rows has a heading Receipt No. "
            "Export the organisation's statement from M-Pesa's portal.",
            file=name,
            rows=HEAD_ROWS,
        )
    )


class _Reader:
    """Reads the rows under the headings, and gathers what is wrong with them."""

    def __init__(self, name: str, layout: str, places: dict[str, int]) -> None:
        self.name, self.layout, self.places = name, layout, places
        self.problems: list[Sentence] = []
        self.footer: dict[str, str] = {}  # what rows of totals below the others say
        self.shift = 0
        self.names = {ours: _COLUMNS[layout][ours] for ours in places}

    def read(self, rows: Iterator[tuple[int, list[str]]]) -> list[Row]:
        found: list[Row] = []
        is_first = True
        for number, cells in rows:
            if not cells:
                continue
            if len(found) >= MOST_ROWS:
                raise StatementError(
                    Sentence(
                        "%(file)s has over %(most)s rows. Export a shorter period, such as one month.",
                        file=self.name,
                        most=f"{MOST_ROWS:,}",
                    )
                )
            if is_first:
                is_first, self.shift = False, self._shift_of(cells)
            if self._is_footer(cells):
                continue
            row = self._row(number, cells)
            if len(self.problems) >= PROBLEMS_TOLD:
                break
            if row is not None:
                found.append(row)
        if self.problems:
            raise StatementError(*self.problems)
        return found

    def _is_footer(self, cells: list[str]) -> bool:
        """Whether this is a row of totals, and no movement: it says so, and has neither receipt nor time."""
        label = _bare(next(filter(None, cells), ""))
        if label not in _FOOTERS or _RECEIPT.fullmatch(self._cell(cells, "receipt")):
            return False
        if any(_instant(cell) for cell in cells):
            return False
        amounts = [cell for cell in cells if _cents(cell) is not None]
        if label in _LABELS and len(amounts) == 1:
            self.footer.setdefault(_LABELS[label], amounts[0])
        elif _FOOTERS[label]:
            for column in ("paid_in", "withdrawn"):
                if self._cell(cells, column):
                    self.footer.setdefault(column, self._cell(cells, column))
        return True

    def _cell(self, cells: list[str], column: str) -> str:
        place = self.places.get(column, -1)
        return cells[place + self.shift] if 0 <= place and 0 <= place + self.shift < len(cells) else ""

    def _shift_of(self, cells: list[str]) -> int:
        """Some tills' extracts have their headings one column beside the data."""
        for shift in (0, 1, -1):
            self.shift = shift
            if _RECEIPT.fullmatch(self._cell(cells, "receipt")) and _instant(self._cell(cells, "completed")):
                return shift
        return 0

    def _wrong(self, number: int, column: str, text: str, right: str) -> None:
        self.problems.append(
            Sentence(
                "%(file)s, row %(row)s, column %(column)s: %(text)r cannot be read. It would look like %(right)s.",
                file=self.name,
                row=number,
                column=self.names.get(column, column),
                text=text[:40],
                right=right,
            )  # fmt: skip
        )

    def _amounts(self, number: int, cells: list[str]) -> tuple[int, int, int | None] | None:
        """(paid in, withdrawn, balance) in cents; None where one is wrong."""
        found: dict[str, int | None] = {}
        for column in ("paid_in", "withdrawn", "balance"):
            text = self._cell(cells, column)
            found[column] = _cents(text)
            if text not in ("", "-") and found[column] is None:
                self._wrong(number, column, text, "1,100.00")
                return None
        paid_in, withdrawn = found["paid_in"] or 0, abs(found["withdrawn"] or 0)
        if paid_in < 0 or (paid_in and withdrawn):
            self._wrong(number, "paid_in", self._cell(cells, "paid_in"), "1,100.00")
            return None
        return paid_in, withdrawn, found["balance"]

    def _row(self, number: int, cells: list[str]) -> Row | None:
        receipt = self._cell(cells, "receipt").upper()
        if not _RECEIPT.fullmatch(receipt):
            self._wrong(number, "receipt", receipt, "UKL1ABCD23")
            return None
        completed_at = _instant(self._cell(cells, "completed"))
        if completed_at is None:
            self._wrong(number, "completed", self._cell(cells, "completed"), "21-11-2026 15:42:10")
            return None
        amounts = self._amounts(number, cells)
        if amounts is None:
            return None
        paid_in, withdrawn, balance = amounts
        details, party = self._cell(cells, "details"), self._cell(cells, "party")
        kind, packed_party, account = _unpack(details)
        # a charge's reason may be its payment's; then only Details says that it is one
        if not (kind and (self.layout == "newer" or (not paid_in and "charge" in kind.lower()))):
            kind = self._cell(cells, "kind")
        number_shown, _dash, payer_name = (party or packed_party).partition(" - ")
        return Row(
            number=number,
            receipt=receipt,
            completed_at=completed_at,
            kind=kind[:60],
            paid_in_cents=paid_in,
            withdrawn_cents=withdrawn,
            status=self._cell(cells, "status")[:20] or "Completed",
            balance_cents=balance,
            account=(self._cell(cells, "account") or account).removesuffix(".0")[:40],
            linked_receipt=self._cell(cells, "linked").upper()[:20],
            details=" · ".join(filter(None, (details or kind, party if party not in details else "")))[:600],
            payer=messages.payer_id(number_shown),
            payer_name=payer_name.strip()[:80],
        )


def _unpack(details: str) -> tuple[str, str, str]:
    """(M-Pesa's words, party, account) of `Pay Bill from 25470****111 - NAME Acc. REF`."""
    head, _acc, account = details.partition(" Acc. ")
    kind, *rest = _PARTY.split(head, maxsplit=1)
    return kind.strip(), rest[0] if rest else "", _VIA.sub("", account).strip()


def _instant(text: str) -> datetime | None:
    """UTC instant of a statement's time, which is East Africa's; None where it is none."""
    if found := _DAY_FIRST.fullmatch(text):
        day, month, year, *time = found.groups()
    elif found := _YEAR_FIRST.fullmatch(text):
        year, month, day, *time = found.groups()
    else:
        return None
    hour, minute, second = (int(part or 0) for part in time)
    try:
        local = datetime(int(year), int(month), int(day), hour, minute, second, tzinfo=clock.NAIROBI)
    except ValueError:
        return None
    return local.astimezone(UTC) if 2007 <= local.year < 2100 else None


def _cents(text: str) -> int | None:
    """Cents of `1,100.00`, `-5`, `1100.5`; None where it is no amount."""
    found = _AMOUNT.fullmatch(text.replace(" ", ""))
    if not found:
        return None
    sign, whole, rest = found.groups()
    amount = int(whole.replace(",", "")) * CENTS + int((rest or "0").ljust(2, "0"))
    return -amount if sign else amount


def _period(preamble: dict[str, str], rows: list[Row]) -> tuple[datetime | None, datetime | None]:
    """What the file covers: as its preamble says, never beyond now; else from its first row to its last."""
    times = [_instant(text) for text in re.findall(r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d", preamble.get("period", ""))]
    if len(times) == 2 and times[0] and times[1] and times[0] < times[1]:
        return times[0], min(times[1], clock.now())
    instants = [row.completed_at for row in rows]
    return (min(instants), max(instants)) if instants else (None, None)


def _check_totals(preamble: dict[str, str], rows: list[Row], name: str) -> None:
    """A file that was cut says other totals than its rows."""
    sums = {
        "paid_in": sum(row.paid_in_cents for row in rows),
        "withdrawn": sum(row.withdrawn_cents for row in rows),
    }
    for label, total in sums.items():
        said = _cents(preamble.get(label, ""))
        if said is not None and abs(said) != total:
            raise StatementError(
                Sentence(
                    "%(file)s is not whole: its rows sum to %(sum)s, its own total says %(total)s. Export it again.",
                    file=name,
                    sum=format_kes(total),
                    total=format_kes(abs(said)),
                )  # fmt: skip
            )


def _prove(stated: dict[str, str], rows: list[Row], name: str) -> Sentence | None:
    """Why these rows cannot be shown to be all that the statement holds; None where its own figures show it.

    By its totals of both sides (`_check_totals` compared them), by its opening and closing balance, or, where it
    states neither, by the balances beside its rows: each follows from another one, but for the first.
    Raises StatementError where the balances that it states contradict its rows.
    """
    moved = [row for row in rows if row.signed_cents and row.status.lower() in COMPLETED]
    opening, closing = _cents(stated.get("opening", "")), _cents(stated.get("closing", ""))
    if opening is not None and closing is not None:
        reached = opening + sum(row.signed_cents for row in moved)
        if reached != closing:
            raise StatementError(
                Sentence(
                    "%(file)s is not whole: its rows lead from its opening balance to %(reached)s, its own closing "
                    "balance says %(closing)s. Export it again.",
                    file=name,
                    reached=format_kes(reached),
                    closing=format_kes(closing),
                )
            )
        return None
    if all(_cents(stated.get(label, "")) is not None for label in ("paid_in", "withdrawn")):
        return None
    return _prove_by_rows(moved)


def _prove_by_rows(rows: list[Row]) -> Sentence | None:
    missing = Sentence(
        "It states neither its totals paid in and withdrawn nor its opening and closing balance, and not every row "
        "has a balance. Export the organisation's statement whole, with its first lines."
    )
    if len(rows) < 2 or any(row.balance_cents is None for row in rows):
        return missing if rows else None
    after = Counter(row.balance_cents for row in rows)
    begins = 0
    for row in sorted(rows, key=lambda one: (one.completed_at, one.number)):
        before = (row.balance_cents or 0) - row.signed_cents
        if after[before] > 0:
            after[before] -= 1
            continue
        begins += 1
        if begins > 1:
            return Sentence(
                "It states no totals, and the balance of row %(row)s, %(receipt)s, follows from no other row: rows are "
                "missing or were changed. Export it again.",
                row=row.number,
                receipt=row.receipt,
            )
    return None


def _check_months(rows: list[Row], name: str) -> None:
    """A spreadsheet that took day for month shows in the receipts, which begin with their date."""
    swapped = told = 0
    for row in rows:
        spelt, read_as = messages.receipt_date(row.receipt), clock.nairobi(row.completed_at).date()
        if spelt is not None and read_as.day != read_as.month:
            told += 1
            swapped += (spelt.month, spelt.day, spelt.year) == (read_as.day, read_as.month, read_as.year)
    if swapped > 2 and swapped * 2 > told:
        raise StatementError(
            Sentence(
                "%(file)s has days and months exchanged: a spreadsheet rewrote its dates. "
                "Choose the file as M-Pesa's portal gave it, unopened.",
                file=name,
            )
        )
