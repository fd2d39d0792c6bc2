"""Words of M-Pesa and of others about the same prompts, in any order, over two gateways of one paybill, on a busy day.

What M-Pesa truly moved is booked once and pays its own prompt; what others say moves nothing.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.models import Push, Transaction
from portal.payments.processing import results
from tests.support.daraja import Pushed, c2b_body, new_phone, receipt, stk_body
from tests.support.product import Product
from tests.support.source_addresses import ANYBODY, SAFARICOM, in_production, query_says
from tests.support.transaction_status import answer

AMOUNT, BUSY = 50, 55
TRUE = ("callback", "echo here", "echo there", "nameless echo here", "nameless echo there", "query", "asked", "seen")
SURE = TRUE[:5] + ("asked",)  # these name the receipt, and are believed at once
FALSE = ("forged", "forged amount", "doubled", "cancelled")
SAID = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(TRUE + FALSE)), min_size=1, max_size=12)


def _open_a_busy_day(product: Product) -> list[tuple[str, Pushed, str]]:
    """Real money, the same paybill entered twice, and more prompts of one amount than anybody looks at by hand.

    Of three more prompts: their payment's token, the prompt, and the receipt that M-Pesa would give its money.
    """
    given = {
        "name": "hotspot side", "shortcode": "600111", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "sandbox", "forClinic": True, "isDefault": True,
    }  # fmt: skip
    product.first_hook = product.hook()  # type: ignore[attr-defined]
    assert product.api("amina").post("/api/payment-gateways", given).status_code == 201
    with product.app.app_context(), transaction():
        first = db.session.query(Gateway).filter_by(name="mlima paybill").one()
        first.for_clinic = first.for_hotspot = False
        other = db.session.query(Gateway).filter_by(name="hotspot side").one()
        product.other_hook = f"/hooks/{other.hook_token}"  # type: ignore[attr-defined]
    in_production(product)
    for _person in range(BUSY):
        product.pushed(product.invoice(AMOUNT)[1])
    prompts = []
    for _person in range(3):
        _number, token = product.invoice(AMOUNT)
        pushed = product.pushed(token, new_phone("26"))
        prompts.append((token, pushed, receipt(pushed.push_id)))
    return prompts


def _tell(product: Product, pushed: Pushed, code: str, word: str) -> None:
    """One word about one prompt; `code` is the receipt of the money that M-Pesa moved for it, if it did."""
    here, there = product.other_hook, product.first_hook  # type: ignore[attr-defined]

    def post(path: str, body: object, address: str = SAFARICOM) -> None:
        reached = product.client().post(path, json=body, environ_base={"REMOTE_ADDR": address})
        assert reached.status_code == 200

    def echo(hook: str, account: str) -> None:
        said = c2b_body(receipt=code, amount=AMOUNT, account=account, msisdn=pushed.msisdn)
        post(f"{hook}/c2b/confirmation", said)

    def asked() -> None:
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(name="mlima paybill").one()
            results._receipt(gateway, code, answer(code, AMOUNT, pushed.msisdn))

    own = f"{here}/stk/{pushed.token}"
    forged = code.replace("U", "T", 1)
    words: dict[str, Callable[[], None]] = {
        "callback": lambda: post(own, stk_body(pushed, receipt=code)),
        "seen": lambda: post(own, stk_body(pushed, receipt=code), ANYBODY),
        "echo here": lambda: echo(here, pushed.reference),
        "echo there": lambda: echo(there, pushed.reference),
        "nameless echo here": lambda: echo(here, ""),
        "nameless echo there": lambda: echo(there, ""),
        "query": lambda: query_says(product, pushed, "0"),
        "asked": asked,
        "forged": lambda: post(own, stk_body(pushed, receipt=forged), ANYBODY),
        "forged amount": lambda: post(own, stk_body(pushed, receipt=forged, amount=250_000), ANYBODY),
        "doubled": lambda: post(own, stk_body(pushed, receipt=forged, amount=AMOUNT * 2), ANYBODY),
        "cancelled": lambda: post(own, stk_body(pushed, code=1032), ANYBODY),
    }
    words[word]()
    product.settle()


@pytest.mark.property(54)
@given(said=SAID)
def test_each_payment_is_booked_once_for_its_own_prompt_whoever_tells_of_it_and_where(
    product: Product, said: list[tuple[int, str]]
) -> None:
    """money.md A8, A9, A10: a busy till, two gateways with one number, words from unlisted addresses."""
    prompts = product.begin_again(lambda: _open_a_busy_day(product))
    paid = {who for who, word in said if word in TRUE}
    told = set()
    for who, word in said:
        _token, pushed, code = prompts[who]
        # Its address is a secret of ours and M-Pesa's: alone with a query that says "paid", its receipt is believed.
        if word != "forged" or who in told or who not in paid:
            _tell(product, pushed, code, word)
        told |= {who} if word in SURE else set()
    for who in sorted(paid):  # in the end M-Pesa's own confirmation always comes, and its query tells
        _token, pushed, code = prompts[who]
        _tell(product, pushed, code, "query")
        _tell(product, pushed, code, "echo there")
    with product.inside():
        ids = [pushed.push_id for _token, pushed, _code in prompts]
        booked = db.session.query(Transaction).filter_by(merged_into_id=None).filter(Transaction.push_id.in_(ids)).all()
        of_push = {one.push_id: (one.receipt, one.amount_cents, one.unallocated_cents) for one in booked}
        codes = [code for _token, _pushed, code in prompts]
        loose = db.session.query(Transaction).filter_by(merged_into_id=None, push_id=None)
        assert loose.filter(Transaction.receipt.in_(codes)).count() == 0, f"twice: {said}"
        assert of_push == {prompts[who][1].push_id: (prompts[who][2], AMOUNT * 100, 0) for who in paid}
        states = {db.session.get_one(Push, prompts[who][1].push_id).state for who in {0, 1, 2} - paid}
        assert states <= {"awaiting_pin"}, "nobody but M-Pesa ends a prompt"
    for who, (token, _pushed, _code) in enumerate(prompts):
        assert (product.status(token)["status"] == "paid") == (who in paid)
    assert product.books() == []
