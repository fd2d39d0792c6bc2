"""Which of our payments a payer meant: by the account they typed, or for tills by amount, phone and time."""

from dataclasses import replace
from datetime import datetime, timedelta
from difflib import get_close_matches

from sqlalchemy import or_, select

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import NotFound
from portal.payments.booking import SEVERAL_FIT, UNKNOWN_ACCOUNT
from portal.payments.models import OWING, Allocation, Payment, Push, Transaction
from portal.payments.states import PaymentState
from portal.payments.stk.push_states import State

TILL_WINDOW, CLOCKS_DIFFER = timedelta(minutes=10), timedelta(minutes=1)
LONGEST_TYPED, DIGITS = 12, "0123456789"
_LOOKS_LIKE = str.maketrans("OILSB", "01158")  # letters that are typed for digits
SUGGESTED_FROM, NEARLY = 500, 0.75  # newest open payments looked at; likeness of two accounts, 0 to 1
_MAY_STILL_BE_PAID = (
    State.SENDING,
    State.AWAITING_PIN,
    State.UNCONFIRMED,
    State.DECLINED,
    State.CANCELLED,
    State.SUCCEEDED,
)


def numbers_of(gateway: Gateway) -> set[str]:
    """The shortcodes that M-Pesa may name for this gateway: a till's own, and its head office's."""
    return {number for number in (gateway.shortcode, gateway.store_number) if number}


def payment_of(gateway: Gateway, account: str) -> Payment | None:
    """The payment whose reference, or one of whose pushes' references, the payer typed, however spaced or cased."""
    reference = messages.normalise_account(account)
    if not reference:
        return None
    mine = select(Payment).where(Payment.tenant_id == gateway.tenant_id, Payment.environment == gateway.environment)
    found = db.session.scalars(mine.where(Payment.reference == reference)).one_or_none()
    of_push = mine.join(Push).where(Push.tenant_id == gateway.tenant_id, Push.reference == reference)
    return found or db.session.scalars(of_push).one_or_none()


def named(tenant_id: int, words: str) -> Payment | None:
    """The payment that staff or a program of the tenant's names: by its reference, however written, or paymentId."""
    if not words.isprintable():
        return None
    mine = select(Payment).where(Payment.tenant_id == tenant_id)
    found = db.session.scalars(mine.where(Payment.token == words.strip())).one_or_none()
    reference = messages.normalise_account(words)
    if found is not None or not reference:
        return found
    return db.session.scalars(mine.where(Payment.reference == reference)).one_or_none()


def payable(tenant_id: int, words: str) -> Payment:
    """The same. Raises NotFound."""
    payment = named(tenant_id, words)
    if payment is None:
        raise NotFound(f"There is nothing to pay called {words[:40]}.", code="unknown_reference")
    return payment


def of_same_number(gateway: Gateway) -> list[int]:
    """The ids of all gateways whose money this one may hear of: a tenant may enter one paybill twice, for two uses.

    Archived ones too: what they asked for may still be paid.
    """
    numbers = numbers_of(gateway)
    mine = select(Gateway.id).where(
        Gateway.tenant_id == gateway.tenant_id,
        Gateway.environment == gateway.environment,
        or_(Gateway.shortcode.in_(numbers), Gateway.store_number.in_(numbers)),
    )
    return list(db.session.scalars(mine))


def push_of(gateway: Gateway, paid: messages.C2bPayment) -> list[Push]:
    """The pushes that this C2B word may be the echo of: for a paybill the one it names, for a till by likeness.

    Of the amount that was asked for: who types a push's name by hand pays its payment, and answers no push.
    """
    reference = messages.normalise_account(paid.account)
    if reference:
        of_name = select(Push).where(
            Push.tenant_id == gateway.tenant_id,
            Push.reference == reference,
            Push.gateway_id.in_(of_same_number(gateway)),
            Push.amount_cents == paid.amount_cents,
        )
        return list(db.session.scalars(of_name))
    at = paid.occurred_at or clock.now()
    return _alike(gateway, amount_cents=paid.amount_cents, at=at, payer=paid.payer)


def _alike(gateway: Gateway, *, amount_cents: int, at: datetime, payer: messages.PayerId) -> list[Push]:
    """The pushes of a till that money of this amount, time and payer may answer, and that no receipt answers yet."""
    alike = select(Push).where(
        Push.gateway_id.in_(of_same_number(gateway)),
        Push.amount_cents == amount_cents,
        Push.state.in_(_MAY_STILL_BE_PAID),
        Push.sent_at > at - TILL_WINDOW,
        Push.sent_at < at + TILL_WINDOW,
        ~select(Transaction.id).where(Transaction.push_id == Push.id, Transaction.receipt.is_not(None)).exists(),
    )
    candidates = []
    for push in db.session.scalars(alike.order_by(Push.id)):  # a busy till has many: the payer tells them apart
        msisdn = personal.open_phone(push.phone_sealed, push.tenant_id)
        if msisdn and messages.payer_matches(payer, msisdn):
            candidates.append(push)
    return candidates


def _payer_of(money: Transaction) -> messages.PayerId:
    msisdn = personal.open_phone(money.phone_sealed, money.tenant_id)
    return messages.payer_id(msisdn or money.payer_shown)


def known_by_query(gateway: Gateway, paid: messages.C2bPayment) -> list[Push]:
    """The pushes that a query called paid, and whose receipt this word, which names no account, may bring."""
    if paid.payer.kind == "missing":
        return []
    alike = {push.id: push for push in push_of(gateway, replace(paid, account=""))}
    told = select(Transaction.push_id).where(Transaction.push_id.in_(alike), Transaction.receipt.is_(None))
    known = set(db.session.scalars(told)) if alike else set()
    return [push for push_id, push in alike.items() if push_id in known]


def told_by_status(push: Push) -> Transaction | None:
    """Money that is booked without a word of its push, and that this push answers; locked; else None.

    M-Pesa told of it when asked about its receipt, or a till was paid and several prompts fitted. Of several that came
    from this payer and have no home it is the first: which of them answers which prompt makes no difference to anybody,
    and one more booking would count a shilling twice. The caller holds the payment's lock.
    """
    sent_at = push.sent_at or push.created_at
    paid_the_same = select(Allocation.id).where(
        Allocation.transaction_id == Transaction.id, Allocation.payment_id == push.payment_id
    )
    alike = select(Transaction).where(
        Transaction.tenant_id == push.tenant_id,
        Transaction.gateway_id.in_(of_same_number(push.gateway)),
        or_(Transaction.channel == "status", Transaction.unplaced_why == SEVERAL_FIT, paid_the_same.exists()),
        Transaction.account == "",
        Transaction.push_id.is_(None),
        Transaction.merged_into_id.is_(None),
        Transaction.reversed_at.is_(None),
        Transaction.amount_cents == push.amount_cents,
        Transaction.occurred_at > sent_at - CLOCKS_DIFFER,
        Transaction.occurred_at < sent_at + TILL_WINDOW,
    )
    msisdn = personal.open_phone(push.phone_sealed, push.tenant_id) or ""
    of_payer = [
        one
        for one in db.session.scalars(alike.order_by(Transaction.id)).all()
        if messages.payer_matches(_payer_of(one), msisdn)
    ]
    free = [one for one in of_payer if one.unallocated_cents == one.amount_cents]
    for one in free if len(of_payer) > 1 else of_payer:
        db.session.refresh(one, with_for_update=True)
        if one.push_id is None:  # another prompt's answer may have taken it at this moment
            return one
    return None


def suggestions(homeless: list[Transaction], *, most: int) -> dict[int, list[Payment]]:
    """What each of these may be for, by its id, likeliest first: an account that was nearly typed right, the same
    amount, the same phone. Open payments only; a person decides. What is open is read once for all of them.
    """
    open_now: dict[tuple[int, str], list[Payment]] = {}
    one_slip_away = _one_slip_away(homeless)
    found = {}
    for money in homeless:
        where = (money.tenant_id, money.environment)
        if where not in open_now:
            open_now[where] = _newest_open(*where)
        likeliest = [*one_slip_away.get(money.id, []), *_likeliest(money, open_now[where], most)]
        found[money.id] = _of_several(money, most) or list(dict.fromkeys(likeliest))[:most]
    return found


def slips_of(typed: str) -> set[str]:
    """The references that this account may have been meant for: one digit wrong, too many, missing, two that changed
    places, a letter for the digit that looks like it, or the letters in front left out. typed: normalised.
    """
    if not 3 <= len(typed) <= LONGEST_TYPED:
        return set()
    looks = typed[:3] + typed[3:].translate(_LOOKS_LIKE)
    meant = {looks, f"INV{typed}"}
    for at, sign in enumerate(looks):
        meant.add(looks[:at] + looks[at + 1 :])
        meant.add(looks[:at] + looks[at + 1 : at + 2] + sign + looks[at + 2 :])
        if sign.isdigit():
            meant |= {looks[:at] + digit + looks[at + 1 :] for digit in DIGITS}
            meant |= {looks[:at] + digit + looks[at:] for digit in DIGITS}
    meant |= {looks + digit for digit in DIGITS}
    return meant - {typed}


def _one_slip_away(homeless: list[Transaction]) -> dict[int, list[Payment]]:
    """What is open under a reference that differs by one slip from the account that was typed: by one select."""
    meant = {
        money.id: slips_of(messages.normalise_account(money.account))
        for money in homeless
        if money.unplaced_why == UNKNOWN_ACCOUNT
    }
    if not any(meant.values()):
        return {}
    named = select(Payment).where(
        Payment.tenant_id.in_({money.tenant_id for money in homeless}),
        Payment.reference.in_(set().union(*meant.values())),
        Payment.state == PaymentState.OPEN,
    )
    open_ones = sorted(db.session.scalars(named), key=lambda one: -one.id)  # in order, SQLite would read them all
    return {
        money.id: [
            one
            for one in open_ones
            if one.reference in meant.get(money.id, ())
            and (one.tenant_id, one.environment) == (money.tenant_id, money.environment)
        ]
        for money in homeless
    }


def _newest_open(tenant_id: int, environment: str) -> list[Payment]:
    open_here = select(Payment).where(
        Payment.tenant_id == tenant_id,
        Payment.environment == environment,
        OWING.waits,
    )
    return list(db.session.scalars(open_here.order_by(Payment.id.desc()).limit(SUGGESTED_FROM)))


def _of_several(money: Transaction, most: int) -> list[Payment]:
    """What the prompts asked for that a till's money fits."""
    if money.unplaced_why != SEVERAL_FIT or money.gateway is None:
        return []
    pushes = _alike(money.gateway, amount_cents=money.amount_cents, at=money.occurred_at, payer=_payer_of(money))
    asked_for = {push.payment_id: push.payment for push in pushes if push.payment.state == PaymentState.OPEN}
    return list(asked_for.values())[:most]


def _likeliest(money: Transaction, newest: list[Payment], most: int) -> list[Payment]:
    if money.unplaced_why == SEVERAL_FIT and money.gateway is not None:
        return []
    typed = messages.normalise_account(money.account) if money.unplaced_why == UNKNOWN_ACCOUNT else ""
    nearly = get_close_matches(typed, [one.reference for one in newest], n=most, cutoff=NEARLY) if typed else []
    by_name = [one for reference in nearly for one in newest if one.reference == reference]
    alike = [
        one
        for one in newest
        if one.due_cents == money.unallocated_cents or (money.phone_hash and one.phone_hash == money.phone_hash)
    ]
    return list(dict.fromkeys([*by_name, *alike]))[:most]
