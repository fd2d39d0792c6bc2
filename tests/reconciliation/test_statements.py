"""Statements read from bytes: three layouts in three kinds of file, and everything that is not one, said in words."""

import io
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.reconciliation.files import StatementError
from portal.reconciliation.statements import read
from tests.support.statements import Line, as_csv, as_xls, as_xlsx, table, workbook

AT = datetime(2026, 11, 21, 12, 42, 10, tzinfo=UTC)  # 15:42:10 in Nairobi; receipts of that day begin with UKL
LINES: list[Line] = [
    ("UKL1ABCD23", AT, "Pay Bill Online", 110_000, "INV-42", ""),
    ("UKL1ABCD23", AT, "Pay Bill Charge", -605, "", ""),
    ("UKL9SWEEP1", AT, "Utility Account to Organization Settlement Account", -50_000, "", ""),
    ("UKL9PAYOUT", AT, "Business Payment to Customer via API", -20_000, "", ""),
    ("UKL9REVERS", AT, "Transaction Reversal via API", -110_000, "", "UKL1ABCD23"),
]
NATURES = ["payment", "charge", "sweep", "payout", "reversal"]


def refused(content: bytes, name: str = "statement.csv") -> str:
    with pytest.raises(StatementError) as caught:
        read(content, name=name, shortcodes={"600111"})
    assert all(name in str(sentence) for sentence in caught.value.problems)
    return " ".join(map(str, caught.value.problems))


@pytest.mark.parametrize("layout", ["legacy", "newer", "store"])
@pytest.mark.parametrize("file", ["csv", "semicolons", "tabs", "utf-16", "xlsx", "xlsx of texts", "xls"])
def test_each_layout_says_the_same_in_each_kind_of_file(layout, file):
    cells = table(LINES, layout)
    content = {
        "csv": lambda: b"\xef\xbb\xbf" + as_csv(cells),
        "semicolons": lambda: as_csv(cells, delimiter=";"),
        "tabs": lambda: as_csv(cells, delimiter="\t"),
        "utf-16": lambda: as_csv(cells, delimiter="\t").decode().encode("utf-16"),
        "xlsx": lambda: as_xlsx(cells),
        "xls": lambda: as_xls(cells),
        "xlsx of texts": lambda: as_xlsx(cells, numbers=False),
    }[file]()
    found = read(content, name="any name.dat", shortcodes={"600111"})
    assert found.layout == layout
    assert [row.nature for row in found.rows] == NATURES
    assert [row.signed_cents for row in found.rows] == [line[3] for line in LINES]
    assert [row.receipt for row in found.rows] == [line[0] for line in LINES]
    assert {row.completed_at for row in found.rows} == {AT} and found.since == found.until == AT
    assert [row.number for row in found.rows] == list(range(len(cells) - 4, len(cells) + 1))
    assert found.shortcode == ("600111" if layout == "legacy" else "")
    payment = found.rows[0]
    assert payment.account == ("" if layout == "store" else "INV-42")
    assert (payment.payer.kind, payment.payer_name) == ("masked", "JOHN DOE")
    if layout != "newer":
        assert found.rows[4].linked_receipt == "UKL1ABCD23"


def test_a_till_extract_with_its_headings_one_column_beside_is_read():
    cells = table(LINES, "store")
    shifted = [cells[0], *([""] + row for row in cells[1:])]
    assert [row.signed_cents for row in read(as_csv(shifted), name="x.csv", shortcodes=set()).rows] == [
        line[3] for line in LINES
    ]


def test_a_charge_whose_reason_is_its_payments_is_still_a_charge():
    cells = table(LINES[:2], "legacy")
    cells[-1][9] = "Pay Bill Online"
    assert [row.nature for row in read(as_csv(cells), name="x.csv", shortcodes={"600111"}).rows] == NATURES[:2]


def test_what_a_payer_types_does_not_change_what_a_row_is():
    lines: list[Line] = [("UKL1ABCD23", AT, "Pay Bill", 5_000, "Charge to bank reversal settlement account", "")]
    for layout in ("legacy", "newer"):
        [row] = read(as_csv(table(lines, layout)), name="x.csv", shortcodes={"600111"}).rows
        assert row.nature == "payment" and row.account.startswith("Charge to bank")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"), (b" \r\n ", "is empty"), (b"%PDF-1.7 ...", "is a PDF"),
        (b"\x89PNG\r\n\x1a\n....", "is a picture"),
        (b"\xff\xd8\xff\xe0", "is a picture"), (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\n<html><table>", "is a web page"),
        (b"a,b\x00c", "neither text nor a spreadsheet"), (bytes(range(256)), "neither text nor a spreadsheet"),
        (b"PK\x03\x04 cut off", "damaged"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "locked with a password"),
        (b"Name,Amount\r\nJohn,5\r\n", "is no M-Pesa statement"),
        (b"Receipt No,Completion Time\r\n", "columns Details, Paid In, Withdrawn"),
        (b"Receipt No,Completion Time,Details,Paid In,Withdrawn\r\n\"never closed" + b"x" * 200_000, "quotation mark"),
        (b"x" * (20 * 1024**2 + 1), "over 20 MB"),
    ],
)  # fmt: skip
def test_what_is_no_statement_is_told_so(content, said):
    assert said in refused(content)


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        (1, "31-02-2026 10:00:00", "column Completion Time: '31-02-2026 10:00:00'"), (1, "2026", "21-11-2026 15:42:10"),
        (1, "", "column Completion Time"), (1, "11-21-2026 10:00:00", "column Completion Time"),
        (5, "1.100,00", "column Paid In: '1.100,00' cannot be read. It would look like 1,100.00"),
        (5, "1,1", "column Paid In"),
        (5, "=1+1", "column Paid In"), (5, "-5.00", "column Paid In"), (5, "1e5", "column Paid In"),
        (6, "five", "column Withdrawn"),
        (6, "-1.00", "column Paid In"), (0, "TOTAL", "column Receipt No."), (0, "=cmd()", "column Receipt No."),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_named_by_row_and_column_with_what_would_be_right(place, text, said):
    cells = table(LINES[:1], "legacy")
    cells[-1][place] = text
    assert "row 7" in refused(as_csv(cells)) and said in refused(as_csv(cells))
    sheet = refused(as_xlsx(cells, numbers=False), "statement.xlsx")
    assert "row 7" in sheet and said in sheet


def test_several_wrong_cells_are_named_at_once_but_not_a_thousand():
    cells = table([LINES[0]] * 1_000, "newer")
    for row in cells[1:]:
        row[1] = "yesterday"
    text = refused(as_csv(cells))
    assert text.count("yesterday") == 5 and "row 2," in text and "row 6," in text


def test_another_organisations_statement_is_refused():
    assert "statement of 600222; this gateway is 600111" in refused(as_csv(table(LINES, "legacy", shortcode="600222")))
    name = "Statements for 600222 from 2026-11-01 to 2026-11-30.csv"
    assert "statement of 600222" in refused(as_csv(table(LINES, "newer")), name)


def test_a_cut_file_is_refused_by_its_own_totals():
    cells = table(LINES, "legacy")
    assert "is not whole" in refused(as_csv(cells[:-1]))


def test_days_that_a_spreadsheet_exchanged_with_months_are_noticed():
    days = [datetime(2026, 3, 14 - n, 9, tzinfo=UTC) for n in range(1, 9)]
    lines: list[Line] = [(f"UC{at.day:X}AAAAAA{at.day:X}", at, "Pay Bill", 100, "", "") for at in days]
    cells = table(lines, "newer")
    assert len(read(as_csv(cells), name="x.csv", shortcodes=set()).rows) == 8
    for row in cells[1:]:
        day, month, rest = row[1].split("/", 2)
        row[1] = f"{month}/{day}/{rest}" if int(day) <= 12 else row[1]
    assert "days and months exchanged" in refused(as_csv(cells))


def test_a_zip_bomb_is_refused_before_it_is_opened():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as entry:
            for _megabyte in range(300):
                entry.write(b" " * 1024**2)
    assert len(out.getvalue()) < 1024**2
    assert "unpacks to far more" in refused(out.getvalue(), "bomb.xlsx")


def test_an_archive_that_lies_about_its_size_is_no_way_around():
    honest = as_xlsx(table(LINES, "legacy"))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(honest)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b" " * 30_000_000 if name.endswith("sheet1.xml") else b""))
    lying = bytearray(out.getvalue())
    big = (30_000_000 + len(zipfile.ZipFile(io.BytesIO(honest)).read("xl/worksheets/sheet1.xml"))).to_bytes(4, "little")
    for _twice in range(2):
        place = lying.find(big)
        lying[place : place + 4] = (5_000).to_bytes(4, "little")
    try:
        read(bytes(lying), name="lie.xlsx", shortcodes={"600111"})
    except StatementError as error:
        assert "lie.xlsx" in str(error)


def test_one_cell_in_the_last_corner_does_not_take_the_memory_of_all_before_it():
    cells = [
        f'<row r="{row}"><c r="{column}{row}"><v>1</v></c></row>' for column, row in (("A", 1), ("XFD", 1_048_576))
    ]
    text = refused(workbook(f"<sheetData>{''.join(cells)}</sheetData>"), "far.xlsx")
    assert "unpacks to far more" in text or "damaged" in text


def test_a_document_or_an_archive_is_no_spreadsheet():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    assert "no spreadsheet" in refused(out.getvalue(), "letter.docx")


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr("portal.reconciliation.statements.MOST_ROWS", 3)
    assert "has over 3 rows" in refused(as_csv(table(LINES, "newer")))


def test_an_empty_period_is_a_statement_without_rows():
    assert read(as_csv(table([], "newer")), name="x.csv", shortcodes=set()).rows == []


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [
            b"",
            b"PK\x03\x04",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            b"Receipt No,Completion Time,Details,Paid In,Withdrawn\n",
        ]
    ),
)
def test_no_bytes_make_it_fail_otherwise_than_in_words(junk, start):
    if start.startswith((b"PK", b"\xd0")) and len(junk) % 8:
        start = b""  # each spreadsheet starts a program: some will do
    try:
        read(start + junk, name="junk", shortcodes={"600111"})
    except StatementError as error:
        assert all("junk" in str(sentence) for sentence in error.problems)
