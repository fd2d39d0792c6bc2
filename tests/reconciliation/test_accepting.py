"""A statement is believed once an administrator accepts it: before, it is a draft that books nothing (rule 7)."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from portal.cli import main
from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.payments import booking
from portal.payments.models import Refund, Transaction
from portal.reconciliation import runs
from portal.reconciliation.files import StatementError
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.tenants.models import Tenant
from portal.users.models import User
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.statements import (
    PAY,
    REVERSAL,
    SWEEP,
    Line,
    PowerCut,
    ago,
    as_csv,
    by_hand,
    counted,
    everything,
    form_of,
    rows,
    shillings,
    table,
)
from tests.support.visitors import csrf_of


def gateway_of(product: Product, shortcode: str = "600111") -> Gateway:
    return db.session.query(Gateway).filter_by(shortcode=shortcode).one()


def drafted(product: Product, cells: list[list[str]]) -> int:
    """The id of the draft that an upload of these cells makes."""
    with product.inside():
        gateway = gateway_of(product)
        statement = runs.read_statement(as_csv(cells), name="statement.csv", gateway=gateway)
        return runs.run(gateway.id, statement, user_id=None, actor="test")


def accept(product: Product, made_id: int) -> dict[str, int]:
    with product.inside():
        runs.accept(made_id, user_id=None, actor="test")
        return dict(db.session.get_one(Reconciliation, made_id).counts)


def balanced(lines: list[Line], layout: str = "newer", *, opening: int = 100_000) -> list[list[str]]:
    """A statement whose every row has its true balance, newest first as M-Pesa writes it."""
    cells, reached, made = table([], layout), opening, []
    column = next(place for place, name in enumerate(cells[-1]) if name.upper().startswith("BALANCE"))
    for line in lines:
        reached += line[3]
        row = table([line], layout)[-1]
        row[column] = shillings(reached)
        made.append(row)
    return cells + made[::-1]


@pytest.mark.parametrize("layout", ["legacy", "newer", "store"])
def test_an_accountants_file_pays_nothing_until_an_administrator_accepts_it(product: Product, layout: str) -> None:
    """money.md B25, safety.md 10."""
    number, token = product.invoice(1_500)
    lines: list[Line] = [(receipt(1), ago(5), PAY, 150_000, number, ""), (receipt(2), ago(4), SWEEP, -100, "", "")]
    content = as_csv(table(lines, layout, has_footer=layout != "legacy"))
    njeri = product.browser_of("njeri")
    gateway = njeri.get("/staff/reconcile").text.split('<option value="', 1)[1].split('"', 1)[0]
    before = everything(product)[:4]
    body, kind = form_of({"csrf_token": csrf_of(njeri, "/staff/reconcile"), "gateway": gateway}, content, "x.csv")
    path = njeri.post("/staff/reconcile", data=body, content_type=kind).headers["Location"]
    product.work()
    assert everything(product)[:4] == before and product.status(token)["status"] == "pending"
    page = njeri.get(path).text
    assert "A draft: nothing of this is booked." in page and "An administrator accepts it." in page
    assert "1 payment is missing here: KES 1,500." in page and "Accept the statement" not in page
    csrf = {"csrf_token": csrf_of(njeri, "/staff/reconcile")}
    assert njeri.post(f"{path}/accept", data=csrf).status_code == 403
    chege = product.browser_of("chege")
    assert chege.post(f"{path}/accept", data={"csrf_token": csrf_of(chege, "/staff/reconcile")}).status_code == 404
    product.work()
    assert everything(product)[:4] == before and product.status(token)["status"] == "pending"

    amina = product.browser_of("amina")
    assert "Accept the statement" in amina.get(path).text
    answer = amina.post(f"{path}/accept", data={"csrf_token": csrf_of(amina, path)}, follow_redirects=True)
    assert "what was missing here is booked" in answer.text and "A draft" not in answer.text
    product.work()
    paid = layout != "store"  # a till's extract names no account
    assert product.status(token)["status"] == ("paid" if paid else "pending")
    with product.inside():
        assert db.session.query(Transaction.receipt).all() == [(receipt(1),)]
        made = db.session.query(Reconciliation).one()
        assert made.accepted_by_id == db.session.query(User.id).filter_by(name="Amina").scalar()
        assert made.content_sealed is None and not any(row.is_draft for row in db.session.query(StatementRow))
    assert product.books() == []


def test_a_draft_says_what_accepting_it_does_and_accepting_twice_changes_nothing(either_product: Product) -> None:
    """money.md B25: reversals, sweeps and refunds of a statement are drafts as well."""
    product = either_product
    number, token = product.invoice(1_500)
    paid = by_hand(product, 1, 1_500, number)
    before = everything(product)[:4]
    lines: list[Line] = [
        (paid, ago(10), PAY, 150_000, number, ""), (receipt(2), ago(5), REVERSAL, -150_000, "", paid),
        (receipt(3), ago(4), SWEEP, -100, "", ""), (receipt(4), ago(3), PAY, 5_000, "", ""),
    ]  # fmt: skip
    made_id = drafted(product, table(lines, "legacy"))
    product.work()
    assert everything(product)[:4] == before and product.status(token)["status"] == "paid"
    said = [(row.bucket, row.why) for row in rows(product)]
    assert [bucket for bucket, _why in said] == ["matched", "different", "internal", "created"]
    counts = accept(product, made_id)
    product.work()
    assert counts == counted(matched=1, different=1, internal=1, created=1)
    assert [(row.bucket, row.why) for row in rows(product)] == said and product.status(token)["amountDue"] == 1_500
    after = everything(product)
    assert accept(product, made_id) == counts and everything(product) == after and product.books() == []


def test_money_that_came_between_draft_and_acceptance_is_booked_once(product: Product) -> None:
    number, token = product.invoice(1_500)
    lines: list[Line] = [(receipt(1), ago(0), PAY, 150_000, number, ""), (receipt(2), ago(1), SWEEP, -1, "", "")]
    made_id = drafted(product, table(lines, "legacy"))
    by_hand(product, 1, 1_500, number)
    assert product.status(token)["status"] == "paid"
    assert accept(product, made_id) == counted(matched=1, internal=1)
    assert product.books() == []


def test_an_acceptance_that_was_cut_off_goes_on_where_it_stopped(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH_ROWS", 4)
    lines: list[Line] = [(receipt(n), ago(60 - n), PAY, n * 100, "", "") for n in range(1, 11)]
    made_id = drafted(product, table(lines, "legacy"))
    judge, judged = runs.judge, []

    def cut_off(row: Any, known: Any) -> Any:
        judged.append(row.receipt)
        if len(judged) == 6:
            raise PowerCut
        return judge(row, known)

    monkeypatch.setattr(runs, "judge", cut_off)
    with pytest.raises(PowerCut):
        accept(product, made_id)
    with product.inside():
        assert db.session.query(Transaction).count() == 4
        uid = db.session.get_one(Reconciliation, made_id).uid
    page = product.browser_of("amina").get(f"/staff/reconcile/{uid}").text
    assert "Accepting it was cut off" in page
    assert accept(product, made_id) == counted(created=10)
    assert judged[6:] == [receipt(n) for n in range(5, 11)] and product.books() == []


def test_a_comparison_that_was_cut_off_is_not_accepted(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 7: nobody has seen all that it would book."""
    cells = table([(receipt(n), ago(60 - n), PAY, n * 100, "", "") for n in range(1, 5)], "legacy")

    def cut_off(row: Any, known: Any) -> Any:
        raise PowerCut

    with monkeypatch.context() as broken:
        broken.setattr(runs, "judge", cut_off)
        with pytest.raises(PowerCut):
            drafted(product, cells)
    with product.inside():
        made_id = db.session.query(Reconciliation).one().id
    with pytest.raises(Conflict, match="was cut off"):
        accept(product, made_id)
    with product.inside():
        assert db.session.query(Transaction).count() == 0
        assert db.session.query(Reconciliation).one().accepted_at is None
    assert drafted(product, cells) == made_id and accept(product, made_id) == counted(created=4)


def test_a_statement_without_totals_and_balances_is_compared_and_cannot_be_accepted(product: Product) -> None:
    """Rule 7: what is missing is said exactly."""
    lines: list[Line] = [(receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(5), PAY, 7_000, "B", "")]
    cells = table(lines, "newer")
    for row in cells[1:]:
        row[6] = ""
    made_id = drafted(product, cells)
    with pytest.raises(Conflict, match="neither its totals paid in and withdrawn nor its opening and closing balance"):
        accept(product, made_id)
    with product.inside():
        uid = db.session.get_one(Reconciliation, made_id).uid
        assert db.session.query(Transaction).count() == 0
    page = product.browser_of("amina").get(f"/staff/reconcile/{uid}").text
    assert "It cannot be accepted. It states neither its totals" in page and "Accept the statement" not in page


def test_a_row_alone_proves_nothing_by_its_balance(product: Product) -> None:
    """money.md B25: the forged file had one row."""
    made_id = drafted(product, balanced([(receipt(1), ago(9), PAY, 5_000, "A", "")]))
    with pytest.raises(Conflict, match="neither its totals"):
        accept(product, made_id)


@pytest.mark.parametrize("layout", ["newer", "store"])
def test_rows_whose_balances_follow_from_one_another_are_whole(product: Product, layout: str) -> None:
    lines: list[Line] = [
        (receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(8), SWEEP, -3_000, "", ""),
        (receipt(3), ago(5), PAY, 7_000, "B", ""),
    ]  # fmt: skip
    cells = balanced(lines, layout)
    without_one = [*cells[:-2], cells[-1]]
    made_id = drafted(product, without_one)
    with pytest.raises(Conflict, match=f"the balance of row 2, {receipt(3)}, follows from no other row"):
        accept(product, made_id)
    assert accept(product, drafted(product, cells)) == counted(created=2, internal=1)


def test_rows_that_do_not_lead_from_the_opening_to_the_closing_balance_are_refused(product: Product) -> None:
    lines: list[Line] = [(receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(5), SWEEP, -2_000, "", "")]
    cells = table(lines, "legacy")
    cells[3] = ["Opening Balance:", "100.00", "Closing Balance:", "130.00"]
    assert accept(product, drafted(product, cells)) == counted(created=1, internal=1)
    cells[3][3] = "131.00"
    with product.inside(), pytest.raises(StatementError, match=r"lead from its opening balance to KES 130,.* KES 131"):
        runs.read_statement(as_csv(cells), name="x.csv", gateway=gateway_of(product))


def test_a_draft_of_test_money_is_not_accepted_as_real_money(product: Product) -> None:
    """Rule 11: environment is part of what a statement is."""
    lines: list[Line] = [(receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(5), SWEEP, -2_000, "", "")]
    made_id = drafted(product, table(lines, "legacy"))
    with product.app.app_context(), transaction():
        gateway_of(product).environment = "production"
    with pytest.raises(Conflict, match="went from test to real money"):
        accept(product, made_id)
    with product.inside():
        assert db.session.query(Transaction).count() == 0
    assert drafted(product, table(lines, "legacy")) != made_id


@pytest.mark.parametrize("fault", ["conflict", "database"])
def test_a_row_that_cannot_be_taken_is_listed_by_its_number_and_stops_no_other(
    either_product: Product, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Rule 11, coverage P-12: one Conflict aborted a whole run."""
    product = either_product
    number, token = product.invoice(1_500)
    lines: list[Line] = [
        (receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(8), SWEEP, -2_000, "", ""),
        (receipt(3), ago(7), PAY, 6_000, "BAD", ""), (receipt(4), ago(6), PAY, 150_000, number, ""),
    ]  # fmt: skip
    book = booking._insert

    def refuse(gateway: Any, incoming: Any, *more: Any) -> Any:
        if incoming.receipt == receipt(3) and fault == "conflict":
            raise Conflict("Test money cannot pay a real payment.")
        if incoming.receipt == receipt(3):
            db.session.execute(text("INSERT INTO transactions (id) VALUES (1)"))  # lacks all that it needs
        return book(gateway, incoming, *more)

    monkeypatch.setattr(booking, "_insert", refuse)
    counts = accept(product, drafted(product, table(lines, "legacy")))
    assert counts == counted(created=2, internal=1, different=1)
    [bad] = rows(product, "different")
    reason = "Test money cannot pay a real payment." if fault == "conflict" else "IntegrityError"
    assert bad.why == f"Row 9, {receipt(3)}, could not be taken: {reason} Nothing was booked."
    product.work()
    assert product.status(token)["status"] == "paid" and product.books() == []


@pytest.mark.parametrize("label", ["Total", "TOTALS", "Grand Total:", "Total Amount"])
def test_totals_below_the_rows_are_read_as_totals(product: Product, label: str) -> None:
    lines: list[Line] = [(receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(5), SWEEP, -2_000, "", "")]
    for layout in ("legacy", "newer", "store"):
        cells = table(lines, layout, has_footer=True)
        cells[-1][0] = label
        with product.inside():
            read = runs.read_statement(as_csv(cells), name="x.csv", gateway=gateway_of(product))
            assert [row.receipt for row in read.rows] == [receipt(1), receipt(2)] and read.unproved is None
            cells[-1] = [cell.replace("50.00", "51.00") for cell in cells[-1]]
            if layout != "legacy":  # its preamble is believed before its footer
                with pytest.raises(StatementError, match="its own total says KES 51"):
                    runs.read_statement(as_csv(cells), name="x.csv", gateway=gateway_of(product))


def test_a_row_that_has_a_time_is_no_total_whatever_it_says(product: Product) -> None:
    lines: list[Line] = [(receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(5), PAY, 2_000, "B", "")]
    cells = table(lines, "legacy")
    cells[-1][0] = "TOTAL"
    with product.inside(), pytest.raises(StatementError, match=r"row 8, column Receipt No\.: 'TOTAL'"):
        runs.read_statement(as_csv(cells), name="x.csv", gateway=gateway_of(product))


@pytest.mark.parametrize(("cents", "bucket"), [(150_000, "matched"), (50_000, "different")])
def test_a_payment_that_our_own_reversal_took_back_is_not_taken_back_again(
    product: Product, cents: int, bucket: str
) -> None:
    """tests.md H3: whole it matches, in part it differs, and the payment is never owed again."""
    number, token = product.invoice(1_500)
    paid = by_hand(product, 1, 1_500, number)
    with product.app.app_context(), transaction():
        item = db.session.query(Transaction).one()
        item.refunded_cents = cents
        user_id = db.session.query(User.id).order_by(User.id).limit(1).scalar()
        db.session.add(
            Refund(
                tenant_id=item.tenant_id, transaction_id=item.id, gateway_id=item.gateway_id, method="reversal",
                amount_cents=cents, state="sent", environment="sandbox", requested_by_id=user_id,
            )
        )  # fmt: skip
    cells = table([(paid, ago(0), PAY, 150_000, number, "")], "legacy")
    cells[-1][4] = "Reversed"
    accept(product, drafted(product, cells))
    [row] = rows(product)
    assert (row.bucket, row.why) == (bucket, "A refund of ours reversed it, whole or in part.")
    assert product.status(token)["amountDue"] == 0
    with product.inside():
        assert db.session.query(Transaction).one().reversed_at is None


def test_another_gateways_money_is_not_missing_in_this_ones_statement(product: Product) -> None:
    """tests.md H5."""
    own = by_hand(product, 1, 80, "X")
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        given = {
            "name": "second", "displayName": "MLIMA 2", "shortcode": "600333", "consumerKey": "k", "passkey": "p",
            "consumerSecret": "s", "env": "sandbox", "baseUrl": "http://127.0.0.1:9",
        }  # fmt: skip
        second = settings.create(tenant.id, given, actor="test")
        tenant_id, second_id = tenant.id, second.id
    with product.app.app_context(), transaction():
        incoming = booking.IncomingPayment("c2b", 9_000, clock.now() - timedelta(seconds=1), receipt=receipt(2))
        booking.book(db.session.get_one(Gateway, second_id), incoming)
    lines: list[Line] = [(receipt(7), ago(60), SWEEP, -1, "", ""), (receipt(8), ago(-1), SWEEP, -1, "", "")]
    accept(product, drafted(product, table(lines, "legacy")))
    assert [row.receipt for row in rows(product, "missing_there")] == [own]
    with product.inside():
        found = db.session.scalars(select(Transaction.receipt).where(Transaction.tenant_id == tenant_id))
        assert set(found) == {own, receipt(2)}


def test_a_row_that_fell_into_no_bucket_is_an_alarm(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests.md, second guards: the buckets must add up to the rows of the file."""
    lines: list[Line] = [(receipt(1), ago(9), PAY, 5_000, "A", ""), (receipt(2), ago(5), SWEEP, -2_000, "", "")]
    judged = runs._Run._judged
    monkeypatch.setattr(runs._Run, "_judged", lambda self, gateway, taken: judged(self, gateway, taken)[1:])
    with pytest.raises(runs.DoNotAddUp, match="must add up to 2 rows"):
        drafted(product, table(lines, "legacy"))


def test_the_command_books_only_with_accept(product: Product, tmp_path: Path) -> None:
    """Rule 7: an operator says that they believe the file."""
    number, token = product.invoice(1_500)
    file = tmp_path / "statement.csv"
    lines: list[Line] = [(receipt(1), ago(1), PAY, 150_000, number, ""), (receipt(2), ago(0), SWEEP, -1, "", "")]
    file.write_bytes(as_csv(table(lines, "legacy")))

    def typed(*options: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("portal.app.create_app", lambda: product.app)
            return CliRunner().invoke(main, ["reconcile", str(file), *options])

    compared = typed()
    assert compared.exit_code == 0, compared.output
    assert "Nothing was booked. 1 payments are missing here: book them with --accept." in compared.output
    product.settle()
    assert product.status(token)["status"] == "pending"
    booked = typed("--accept")
    assert booked.exit_code == 0 and "Nothing was booked" not in booked.output, booked.output
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []
    cells = balanced(lines)
    cells[-1][6] = ""
    file.write_bytes(as_csv(cells))
    refused = typed("--accept", "--tenant", "mlima")
    assert refused.exit_code == 1 and "Nothing was booked. It states neither its totals" in refused.output
