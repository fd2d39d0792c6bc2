"""Reconciliation in a real browser: a statement chosen, its report, a difference explained; and no barrier on the way."""

from typing import Any

from portal.kernel import clock
from tests.support.daraja import receipt
from tests.support.journeys import faults_of, sign_in
from tests.support.statements import Line, ago, as_csv, by_hand, table


def test_a_statement_is_compared_and_a_difference_explained(open_product, page_at, no_problems, tmp_path):
    page: Any = page_at(1280)
    known = by_hand(open_product, 1, 1_500, "X")
    now = clock.now()
    lines: list[Line] = [(known, now, "Pay Bill", 140_000, "X", ""), (receipt(2), ago(9), "Pay Bill", 2_000, "Y", "")]
    file = tmp_path / "statement.csv"
    sign_in(page, open_product, "amina")
    page.goto(f"{open_product.url}/staff/reconcile")
    found = faults_of(page, "reports")
    file.write_bytes(b"%PDF")
    page.set_input_files("#file", file)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("is a PDF").wait_for()
    found += faults_of(page, "refused statement")
    file.write_bytes(as_csv(table(lines, "legacy")))
    page.set_input_files("#file", file)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("1 difference to look into").wait_for()
    page.locator("summary", has_text="Day by day").click()
    page.locator("summary", has_text="Look into it").click()
    found += faults_of(page, "report")
    page.get_by_label("What you found out").fill("The till's paper says so.")
    page.get_by_role("button", name="Explained").click()
    page.get_by_text("The till's paper says so.").wait_for()
    narrow: Any = page_at(360)
    sign_in(narrow, open_product, "njeri")
    narrow.goto(page.url)
    found += faults_of(narrow, "report on a phone")
    narrow.goto(f"{open_product.url}/staff/reconcile")
    found += faults_of(narrow, "reports on a phone")
    assert found == []
