"""Reconciliation: every row in one bucket, what was missing booked once, what differs shown to a person."""

import re
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from portal.audit.models import AuditEntry
from portal.cli import main
from portal.gateways.messages import PayerId, PulledTransaction
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.ledger import post
from portal.payments.models import Payment, Push, Refund, Transaction
from portal.payments.processing.callbacks import confirmed_by_query
from portal.reconciliation import review, runs
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.reconciliation.rows import BUCKETS, judge
from portal.users.models import User
from tests.support.application import Serving
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product
from tests.support.statements import (
    CHARGE,
    PAY,
    PAYOUT,
    REVERSAL,
    SWEEP,
    Line,
    PowerCut,
    ago,
    as_csv,
    as_xlsx,
    by_hand,
    counted,
    everything,
    form_of,
    rows,
    run,
    table,
)
from tests.support.visitors import csrf_of


def balance(product: Product, account: str) -> int:
    tenant_id = product.tenant_id()
    with product.inside():
        return post.balance(tenant_id, "sandbox", account)


@pytest.mark.property(57)
def test_our_money_is_compared_with_m_pesas_row_by_row(either_product: Product) -> None:
    product = either_product
    number, token = product.invoice(1_500)
    missed, missed_token = product.invoice(700)
    known = by_hand(product, 1, 1_500, number)
    counts = run(
        product,
        [
            (receipt(9), ago(30), SWEEP, -100_000, "", ""),
            (receipt(3), ago(20), PAY, 70_000, missed, ""),
            (receipt(4), ago(10), PAY, 5_000, "WHO KNOWS", ""),
            (known, ago(0), PAY, 150_000, number, ""),
            (known, ago(0), CHARGE, -825, "", ""),
        ],
    )
    assert counts == counted(matched=1, created=2, internal=2)
    product.settle()
    assert product.status(token)["status"] == product.status(missed_token)["status"] == "paid"
    assert "KES 50" in product.browser_of("brian").get("/staff/unmatched").text
    assert balance(product, "mpesa_charges") == 825 and balance(product, "bank") == 100_000
    assert balance(product, "mpesa_clearing") == 225_000 and balance(product, "mpesa_settled") == -100_825
    assert product.books() == []
    with product.inside():
        whys = {one.why for one in db.session.query(StatementRow).filter_by(bucket="internal")}
    assert {why.split(": ")[1] for why in whys} == {"counted as M-Pesa's charges.", "counted as moved to the bank."}


@pytest.mark.property(58)
def test_what_differs_is_flagged_for_a_person_and_nothing_is_booked(product: Product) -> None:
    number, _token = product.invoice(1_500)
    less, out, lost = by_hand(product, 1, 1_500, number), by_hand(product, 2, 300, "X"), by_hand(product, 3, 80, "Y")
    before = everything(product)
    counts = run(
        product,
        [
            (receipt(90), ago(60), SWEEP, -100, "", ""),
            (less, ago(0), PAY, 140_000, number, ""),
            (out, ago(0), PAYOUT, -30_000, "", ""),
            (receipt(91), ago(-1), SWEEP, -100, "", ""),
        ],
    )
    assert counts == counted(different=2, missing_there=1, internal=2)
    assert everything(product)[:2] == before[:2]
    assert [row.why for row in rows(product, "different")] == [
        "Here it is KES 1,500, at M-Pesa KES 1,400.", "Here it came in; at M-Pesa it went out.",
    ]  # fmt: skip
    assert [row.receipt for row in rows(product, "missing_there")] == [lost]
    with product.inside():
        flagged = db.session.scalars(select(AuditEntry.why).where(AuditEntry.action == "flagged")).all()
        assert len(flagged) == 3
    assert product.books() == []


@pytest.mark.property(59)
def test_a_report_shows_matched_and_unmatched_and_people_explain_the_differences(product: Product) -> None:
    number, _token = product.invoice(1_500)
    known = by_hand(product, 1, 1_500, number)
    lines: list[Line] = [(known, ago(0), PAY, 150_100, number, ""), (receipt(2), ago(5), PAY, 2_000, "=1+1", "")]
    njeri = product.browser_of("njeri")
    page = njeri.get("/staff/reconcile").text
    assert "Reports" in page and "No statement was compared yet" in page
    gateway = page.split('<option value="', 1)[1].split('"', 1)[0]
    fields = {"csrf_token": csrf_of(njeri, "/staff/reconcile"), "gateway": gateway}
    body, kind = form_of(fields, as_xlsx(table(lines, "legacy")), "../../x.xlsx")
    answer = njeri.post("/staff/reconcile", data=body, content_type=kind)
    assert answer.status_code == 303, answer.text
    path = answer.headers["Location"]
    report = njeri.get(path).text
    assert "1 difference to look into" in report and "Missing here" in report and "Day by day" in report
    assert "Here it is KES 1,500, at M-Pesa KES 1,501." in report and "Njeri" in report
    only = njeri.get(f"{path}?bucket=different").text
    assert receipt(2) not in only and known in only
    exported = njeri.get(f"{path}.csv").text
    assert exported.count("\r\n") == 3 and "'=1+1" in exported and ",=1+1" not in exported
    csrf = csrf_of(njeri, path)
    [assign] = re.findall(r'action="([^"]+/owner)"', report)
    amina = re.findall(r'<option value="(\d+)">Amina', report)[0]
    assert njeri.post(assign, data={"csrf_token": csrf, "owner": amina}).status_code == 303
    assert "Look into it: Amina" in njeri.get(path).text
    assert njeri.post(assign, data={"csrf_token": csrf, "owner": "999999"}).status_code == 303
    assert "Choose somebody of this business" in njeri.get(path).text
    resolve = assign.replace("/owner", "/resolve")
    njeri.post(resolve, data={"csrf_token": csrf, "note": "  "})
    assert "Say what you found out" in njeri.get(path).text
    njeri.post(resolve, data={"csrf_token": csrf, "note": "<b>A typing slip of the till</b>"})
    report = njeri.get(path).text
    assert "&lt;b&gt;A typing slip" in report and "difference to look into" not in report
    chege = product.browser_of("chege")
    for stranger in (path, f"{path}.csv"):
        assert chege.get(stranger).status_code == 404
    assert chege.post(resolve, data={"csrf_token": csrf_of(chege, "/staff/reconcile"), "note": "x"}).status_code == 404
    assert product.browser_of("brian").get(path).status_code == 403


def test_an_upload_that_is_no_statement_changes_nothing_and_says_why(product: Product) -> None:
    amina = product.browser_of("amina")
    csrf = csrf_of(amina, "/staff/reconcile")
    gateway = amina.get("/staff/reconcile").text.split('<option value="', 1)[1].split('"', 1)[0]
    before = everything(product)

    def send(content: bytes, name: str, *, who: Any = amina, **changes: str) -> Any:
        body, kind = form_of({"csrf_token": csrf, "gateway": gateway} | changes, content, name)
        return who.post("/staff/reconcile", data=body, content_type=kind)

    for content, said in (
        (b"%PDF-1.4", "is a PDF"),
        (b"", "is empty"),
        (as_csv(table([], "legacy", shortcode="600222")), "is the statement of 600222"),
        (b"x,y\n" * 600_000, "is no M-Pesa statement"),  # over the usual limit of a form
    ):
        answer = send(content, "<script>.csv")
        assert answer.status_code == 422 and said in answer.text and "<script>.csv" not in answer.text
    assert "Choose the statement." in send(b"", "").text
    assert send(b"x", "x.csv", gateway="another").status_code == 422
    assert send(b"x", "x.csv", csrf_token="forged").status_code == 400
    assert send(b"x" * (21 * 1024**2), "x.csv").status_code == 413
    assert send(b"x" * 2 * 1024**2, "x.csv", who=product.client()).status_code == 413  # strangers send no statements
    assert everything(product) == before


def test_the_same_file_again_and_overlapping_files_book_nothing_twice(product: Product) -> None:
    lines: list[Line] = [
        (receipt(1), ago(30), PAY, 5_000, "A", ""),
        (receipt(1), ago(30), CHARGE, -55, "", ""),
        (receipt(2), ago(20), SWEEP, -4_000, "", ""),
    ]
    assert run(product, lines) == counted(created=1, internal=2)
    whole = everything(product)
    assert run(product, lines) == counted(created=1, internal=2) and everything(product) == whole
    assert run(product, [*lines, (receipt(3), ago(5), PAY, 100, "", "")]) == counted(matched=1, created=1, internal=2)
    for layout in ("newer", "store"):
        assert run(product, [lines[0], *lines[1:]], layout=layout)["created"] == 0
    assert run(product, [lines[2]], layout="newer") == counted(internal=1)
    assert balance(product, "mpesa_charges") == 55 and balance(product, "bank") == 4_000
    assert balance(product, "mpesa_clearing") == 5_100 and product.books() == []


def test_a_row_that_stands_twice_in_a_file_counts_twice_and_is_booked_once(product: Product) -> None:
    line: Line = (receipt(1), ago(30), PAY, 5_000, "A", "")
    sweep: Line = (receipt(2), ago(20), SWEEP, -4_000, "", "")
    assert run(product, [line, sweep, line, sweep]) == counted(created=1, matched=2, internal=1)
    assert balance(product, "mpesa_clearing") == 5_000 and balance(product, "bank") == 4_000


def test_a_sweep_between_accounts_in_and_out_under_one_receipt_nets_to_nothing(product: Product) -> None:
    both: list[Line] = [(receipt(1), ago(30), SWEEP, sign * 9_000, "", "") for sign in (1, -1)]
    assert run(product, both, layout="newer") == counted(internal=2)
    assert balance(product, "bank") == balance(product, "mpesa_settled") == 0


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Line] = [(receipt(n), ago(60 - n), PAY, n * 100, "", "") for n in range(1, 26)]
    monkeypatch.setattr(runs, "BATCH_ROWS", 10)
    judged = []

    def cut_off(row: Any, known: Any) -> Any:
        judged.append(row.receipt)
        if len(judged) == 15:
            raise PowerCut
        return judge(row, known)

    monkeypatch.setattr(runs, "judge", cut_off)
    with pytest.raises(PowerCut):
        run(product, lines)
    assert len(rows(product)) == 10
    assert "Not finished" in product.browser_of("amina").get("/staff/reconcile").text
    assert run(product, lines) == counted(created=25)
    draft, accepted = judged[15:30], judged[30:]
    assert draft == [receipt(n) for n in range(11, 26)]  # nothing that was committed is judged again
    assert accepted == [receipt(n) for n in range(1, 26)]
    assert len(rows(product)) == 25 and product.books() == []


def test_money_known_by_query_alone_learns_its_receipt(product: Product) -> None:
    _number, token = product.invoice(1_500)
    pushed = product.pushed(token)
    with product.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert product.status(token)["status"] == "paid"
    assert run(product, [(receipt(7), ago(0), PAY, 150_000, pushed.reference, "")]) == counted(matched=1)
    with product.inside():
        [item] = db.session.scalars(select(Transaction)).all()
        assert item.receipt == receipt(7) and item.push_id == pushed.push_id
    assert product.books() == []


def test_a_push_that_failed_here_and_was_paid_there_is_corrected(product: Product) -> None:
    _number, token = product.invoice(1_500)
    pushed = product.pushed(token)
    product.callback(pushed, code=1032)
    product.settle()
    assert product.status(token)["status"] == "cancelled"
    assert run(product, [(receipt(7), ago(0), PAY, 150_000, pushed.reference, "")]) == counted(created=1)
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_a_till_row_that_two_pushes_could_explain_is_left_to_people(product: Product) -> None:
    phone = "254711000126"
    for _twice in range(2):
        _number, token = product.invoice(1_500)
        pushed = product.pushed(token, phone)
        product.callback(pushed, code=1032)
        product.settle()
    lines: list[Line] = [(receipt(7), ago(0), "Customer Merchant Payment", 150_000, "", "")]
    assert run(product, lines, layout="store") == counted(created=1)
    assert "Several requests" in product.browser_of("brian").get("/staff/unmatched").text
    assert balance(product, "suspense") == -150_000 and product.books() == []


def test_a_till_row_that_may_be_the_receipt_of_a_paid_push_is_left_to_people(product: Product) -> None:
    phone, pushes = "254711000126", []
    for _twice in range(2):
        _number, token = product.invoice(1_500)
        pushes.append(product.pushed(token, phone))
        product.callback(pushes[-1], code=1032)
        product.settle()
    with product.app.app_context(), transaction():
        push = db.session.get_one(Push, pushes[0].push_id)
        confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    lines: list[Line] = [(receipt(7), ago(0), "Customer Merchant Payment", 150_000, "", "")]
    assert run(product, lines, layout="store")["different"] == 1
    assert "Nothing was booked" in rows(product, "different")[0].why and balance(product, "mpesa_clearing") == 150_000


@pytest.mark.parametrize("is_told_first", [True, False])
def test_money_that_m_pesa_reversed_is_owed_again(product: Product, is_told_first: bool) -> None:
    number, token = product.invoice(1_500)
    paid = by_hand(product, 1, 1_500, number) if is_told_first else receipt(1)
    lines: list[Line] = [
        (receipt(2), ago(-1), REVERSAL, -150_000, "", paid), (paid, ago(0), PAY, 150_000, number, ""),
    ]  # newest first, as M-Pesa writes it  # fmt: skip
    expected = counted(matched=1, different=1) if is_told_first else counted(created=1, different=1)
    assert run(product, lines) == expected
    assert "Reversed by M-Pesa" in rows(product, "different")[0].why
    assert product.status(token)["amountDue"] == 1_500
    assert run(product, [*lines, (receipt(3), ago(5), SWEEP, -100, "", "")]) == counted(matched=2, internal=1)
    assert product.books() == []


def test_our_own_reversal_on_its_way_is_not_taken_for_m_pesas(product: Product) -> None:
    number, token = product.invoice(1_500)
    paid = by_hand(product, 1, 1_500, number)
    with product.app.app_context(), transaction():
        item = db.session.query(Transaction).one()
        user = db.session.query(User).first()
        assert user is not None
        db.session.add(
            Refund(
                tenant_id=item.tenant_id, transaction_id=item.id, gateway_id=item.gateway_id, method="reversal",
                amount_cents=50_000, state="sent", environment="sandbox", requested_by_id=user.id,
            )
        )  # fmt: skip
    assert run(
        product, [(paid, ago(0), PAY, 150_000, number, ""), (receipt(2), ago(-1), REVERSAL, -150_000, "", paid)]
    ) == counted(matched=1, different=1)
    assert "Our own reversal" in rows(product, "different")[0].why and product.status(token)["status"] == "paid"


def test_a_difference_that_was_explained_stays_explained_in_later_reports(product: Product) -> None:
    number, _token = product.invoice(1_500)
    known = by_hand(product, 1, 1_500, number)
    line: Line = (known, ago(0), PAY, 140_000, number, "")
    run(product, [line])
    with product.app.app_context(), transaction():
        row = db.session.query(StatementRow).one()
        made = db.session.get_one(Reconciliation, row.reconciliation_id)
        user_id = review.people(row.tenant_id)[0].id
        review.resolve(row.tenant_id, made.uid, row.id, note="Known.", user_id=user_id, actor="test")
    run(product, [line, (receipt(5), ago(3), SWEEP, -100, "", "")])
    assert [row.resolution for row in rows(product, "different")] == ["Known.", "Known."]


def test_another_business_and_another_environment_are_left_alone(product: Product) -> None:
    other = by_hand(product, 1, 500, "X", slug="bahari")
    assert run(product, [(other, ago(0), PAY, 50_000, "X", "")]) == counted(created=1)
    with product.inside():
        assert db.session.scalar(select(func.count(Transaction.id))) == 2
    with product.app.app_context(), transaction():
        mlima = db.session.query(Gateway).filter_by(shortcode="600111").one()
        mlima.environment = "production"
    assert run(product, [(other, ago(0), PAY, 50_000, "X", ""), (receipt(9), ago(1), SWEEP, -100, "", "")]) == counted(
        created=1, internal=1
    )
    with product.inside():
        found = db.session.execute(
            select(Transaction.environment, func.count()).group_by(Transaction.environment)
        ).all()
        assert sorted(map(tuple, found)) == [("production", 1), ("sandbox", 2)]
    assert product.books() == []


def test_pulled_transactions_are_reconciled_once(product: Product) -> None:
    number, token = product.invoice(1_500)
    lost = by_hand(product, 1, 80, "Y")
    known = by_hand(product, 2, 90, "Y")

    def pulled(of: str, amount_cents: int, account: str) -> PulledTransaction:
        return PulledTransaction(
            of, amount_cents, ago(1), PayerId("masked", "2547****126"), "c2b-pay-bill-debit", account
        )

    listed = [pulled(receipt(5), 150_000, number), pulled(known, 9_000, "Y")]
    with product.app.app_context():
        gateway_id = db.session.query(Gateway.id).filter_by(shortcode="600111").scalar()
        for turn in range(3):
            made = runs.run_pulled(gateway_id, listed, since=ago(60), until=clock.now(), actor="pull")
            assert (made is None) == (turn > 0)
            db.session.remove()
    product.settle()
    assert product.status(token)["status"] == "paid"
    assert [row.receipt for row in rows(product, "missing_there")] == [lost]
    assert len(rows(product, "matched")) == len(rows(product, "created")) == 1 and product.books() == []


def test_m_pesas_own_list_is_compared_from_the_page(served: Product) -> None:
    """A payment by hand whose report was lost is found, booked and placed; the list again says nothing new."""
    number, token = served.invoice(1_500)
    amina = served.api("amina")
    uid = amina.get("/api/payment-gateways").json["items"][0]["id"]
    assert (
        amina.post(f"/api/payment-gateways/{uid}/register-pull", {"nominatedNumber": "0700000001"}).status_code == 200
    )
    phone = new_phone()
    paid = requests.post(
        f"{served.daraja_url}/handset/{phone}/pay",
        json={"shortcode": "600111", "account": number, "amount": 1_500}, timeout=30,
    ).json()  # fmt: skip
    assert paid["accepted"]
    browser = served.browser_of("amina")
    page = browser.get("/staff/reconcile").text
    assert "Compare the last 48 hours" in page

    def compare() -> Any:
        data = {"csrf_token": csrf_of(browser, "/staff/reconcile"), "gateway": uid}
        return browser.post("/staff/reconcile/list", data=data, follow_redirects=True)

    assert paid["receipt"] in compare().text
    served.settle()
    assert served.status(token)["status"] == "paid" and served.books() == []
    assert "compared already" in compare().text


@pytest.mark.parametrize("layout", ["1", "2", "3"])
def test_the_simulators_own_statement_fits_in_each_layout(served: Product, simulator: Serving, layout: str) -> None:
    shortcode = f"60055{layout}"
    made = requests.post(
        f"{simulator.url}/control/organisations", json={"name": "OWN", "shortcode": shortcode}, timeout=30
    ).json()
    amina = served.api("amina")
    given = {
        "name": "own", "shortcode": shortcode, "consumerKey": made["consumerKey"],
        "consumerSecret": made["consumerSecret"], "passkey": made["passkey"],
        "env": "sandbox", "baseUrl": simulator.url,
    }  # fmt: skip
    gateway = amina.post("/api/payment-gateways", given)
    assert gateway.status_code == 201, gateway.text
    with served.inside():
        gateway_id = db.session.query(Gateway.id).filter_by(shortcode=shortcode).scalar()
    number, token = served.invoice(1_500)
    for account, amount in ((number, 1_500), ("NOBODY", 80), ("NOBODY", 350)):
        paid = requests.post(
            f"{simulator.url}/handset/{new_phone()}/pay",
            json={"shortcode": shortcode, "account": account, "amount": amount},
            timeout=30,
        ).json()
        assert paid["receipt"]
    content = requests.get(
        f"{simulator.url}/control/statement?shortcode={shortcode}&layout={layout}", timeout=30
    ).content
    with served.inside():
        own = db.session.get_one(Gateway, gateway_id)
        statement = runs.read_statement(content, name="s.csv", gateway=own)
        made_id = runs.run(gateway_id, statement, user_id=None, actor="test")
        runs.accept(made_id, user_id=None, actor="test")
        assert runs.counts_by_id(made_id) == dict.fromkeys(BUCKETS, 0) | {"created": 3, "internal": 2}
    served.settle()
    # a till's extract names no account: who paid what is for people to say
    assert served.status(token)["status"] == ("pending" if layout == "3" else "paid")
    assert balance(served, "mpesa_clearing") == 193_000 and balance(served, "mpesa_charges") == 825 + 192
    assert served.books() == []


MIX = st.lists(
    st.tuples(
        st.integers(1, 8),
        st.sampled_from([PAY, PAY, PAY, CHARGE, SWEEP, PAYOUT, REVERSAL]),
        st.integers(1, 3),
        st.sampled_from(["", "ABC", "INV"]),
        st.integers(0, 8),
    ),
    max_size=14,
)


@settings(max_examples=100)
@given(mix=MIX, known=st.sets(st.integers(1, 8), max_size=4), layout=st.sampled_from(["legacy", "newer", "store"]))
def test_whatever_the_mix_every_row_is_in_one_bucket_and_the_books_balance(
    product: Product, mix: list[tuple[int, str, int, str, int]], known: set[int], layout: str
) -> None:
    product.begin_again()
    base = len(rows(product)) + 1  # each example has receipts of its own
    for number in known:
        by_hand(product, base * 100 + number, number * 10, "ABC")
    lines: list[Line] = [
        (
            receipt(base * 100 + number), ago(index), words,
            (1 if words == PAY else -1) * times * number * 1_000, account,
            receipt(base * 100 + linked) if linked and words == REVERSAL else "",
        )
        for index, (number, words, times, account, linked) in enumerate(mix)
    ]  # fmt: skip
    lines.append((receipt(base * 100 + 99), ago(100), SWEEP, -base, "", ""))
    counts = run(product, lines, layout=layout)
    assert counts["rows"] == len(lines) == sum(counts[bucket] for bucket in BUCKETS) - counts["missing_there"]
    before = everything(product)
    assert run(product, lines, layout=layout) == counts and everything(product) == before
    again = run(product, [*lines, (receipt(base * 100 + 98), ago(90), SWEEP, -base, "", "")], layout=layout)
    assert again["created"] == 0 and again["rows"] == counts["rows"] + 1
    assert product.books() == []
    with product.inside():
        assert (
            db.session.scalar(select(func.count(Payment.id)).where(Payment.allocated_cents > Payment.amount_cents)) == 0
        )


def test_the_command_prints_the_counts_and_fails_where_something_differs(product: Product, tmp_path: Path) -> None:
    number, _token = product.invoice(1_500)
    known = by_hand(product, 1, 1_500, number)

    def typed(content: bytes, *options: str) -> Any:
        (tmp_path / "statement.csv").write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("portal.app.create_app", lambda: product.app)
            return CliRunner().invoke(main, ["reconcile", str(tmp_path / "statement.csv"), *options])

    right = [(known, ago(0), PAY, 150_000, number, "")]
    for content, sentence in (
        (as_csv(table(right, "newer")), "does not say whose statement it is"),
        (as_csv(table(right, "legacy", shortcode="600999")), "No gateway here is called so"),
    ):
        nobodys = typed(content)
        assert nobodys.exit_code == 1 and sentence in nobodys.output and "--tenant" in nobodys.output
    good = typed(as_csv(table(right, "legacy")))
    assert good.exit_code == 0 and re.search(r"matched +1\b", good.output), good.output
    bad = typed(as_csv(table([(known, ago(0), PAY, 140_000, number, "")], "newer")), "--tenant", "mlima")
    assert bad.exit_code == 1 and re.search(r"different +1\b", bad.output)
    ugly = typed(b"%PDF")
    assert ugly.exit_code == 1 and "statement.csv is a PDF" in ugly.output and "Traceback" not in ugly.output
