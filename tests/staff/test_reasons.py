"""Reasons that are kept in English are read in the reader's language, sentence by sentence."""

import pytest

from portal.kernel.db import db, transaction
from portal.payments.models import Refund, Transaction
from portal.reconciliation.models import Reconciliation
from portal.staff import reasons
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.statements import ago, run


@pytest.mark.parametrize(
    ("kept", "language", "shown"),
    [
        ("Paid, receipt UKL1ABCD23.", "sw", "Imelipwa, risiti UKL1ABCD23."),
        (
            "Booked from M-Pesa's records. Receipt UKL1 for INV1001.",
            "sw",
            "Imeingizwa kutoka kumbukumbu za M-Pesa. Risiti UKL1 ya INV1001.",
        ),
        (
            "Here it is KES 1,000, at M-Pesa KES 900.50.",
            "sw",
            "Hapa ni KES 1,000, M-Pesa ni KES 900.50.",
        ),
        ("M-Pesa: 1032 Request cancelled by user", "sw", "M-Pesa: 1032 Request cancelled by user"),
        ("Nothing was booked. Wanjiru says otherwise.", "sw", "Hakuna kilichoingizwa. Wanjiru says otherwise."),
        ("", "sw", ""),
        ("Paid, receipt UKL1ABCD23. Nothing was booked.", "en", "Paid, receipt UKL1ABCD23. Nothing was booked."),
    ],
)
def test_each_sentence_that_is_ours_is_said_and_the_rest_stays(
    product: Product, kept: str, language: str, shown: str
) -> None:
    with product.app.test_request_context(f"/staff/?lang={language}"):
        assert reasons.reason(kept) == shown


def test_every_sentence_is_known_again_with_what_was_put_into_it(product: Product) -> None:
    """One that begins like another, or holds a name, must not be taken for it."""
    with product.app.test_request_context("/staff/?lang=en"):
        for one in reasons.SENTENCES:
            names = dict.fromkeys(reasons._NAMED.findall(one.template), "UKL1ABCD23")
            text = one.template % names if names else one.template
            found = reasons._first_of(text)
            assert found is not None and (found[0].template, found[1]) == (one.template, len(text)), text


def test_a_report_and_a_payments_steps_speak_swahili(product: Product) -> None:
    """use.md 14: the notes of a comparison and the history of a payment were English for everybody."""
    _number, token = product.invoice(1_000)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    run(product, [(receipt(2), ago(8), "Pay Bill", 700, "Y", "")])
    with product.inside():
        uid = db.session.query(Reconciliation.uid).scalar()
    amina = product.browser_of("amina")
    page = amina.get(f"/staff/reconcile/{uid}?lang=sw").text
    booked = f"Imeingizwa kutoka kumbukumbu za M-Pesa. Risiti {receipt(2)} inasubiri kupangwa."
    assert booked in page and "Booked from" not in page
    head, row = amina.get(f"/staff/reconcile/{uid}.csv?lang=sw").text.splitlines()
    assert head.startswith("Mstari,Risiti,") and "paidIn" not in head
    assert booked in row and "created" not in row and ",payment," not in row
    steps = amina.get(f"/staff/attempts/{token}?lang=sw").text
    assert "M-Pesa ilijibu: imelipwa." in steps and "called back" not in steps


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        ("M-Pesa does not know it (R000002). It was asked 3 times.", "M-Pesa haiijui (R000002). Iliulizwa mara 3."),
        (
            "M-Pesa states KES 900.50. Compare with the statement, then say what became of it.",
            "M-Pesa inataja KES 900.50. Linganisha na taarifa ya akaunti, kisha sema nini kilitokea.",
        ),
        (
            "M-Pesa said 2001: The initiator information is invalid.",
            "M-Pesa ilisema 2001: The initiator information is",
        ),
    ],
)
def test_why_a_refund_did_not_go_is_told_in_its_readers_language(product: Product, failure: str, shown: str) -> None:
    _number, token = product.invoice(1_000)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    with product.app.app_context(), transaction():
        paid = db.session.query(Transaction).one()
        db.session.add(
            Refund(
                tenant_id=paid.tenant_id,
                transaction_id=paid.id,
                gateway_id=paid.gateway_id,
                method="b2c",
                amount_cents=50_000,
                environment="sandbox",
                requested_by_id=1,
                state="failed",
                failure=failure,
            )  # fmt: skip
        )
    page = product.browser_of("amina").get("/staff/refunds?lang=sw").text
    assert shown in page and "asked 3 times" not in page and "Compare with" not in page
