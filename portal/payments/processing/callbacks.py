"""What a callback means: one function an inbox row, each answering with where the row goes next.

The order of trust: token, gateway, id and amount must all fit a push of ours before anything of value opens. What is
odd waits for M-Pesa's own word (an STK query), and a query, which states no amount, never cures an amount.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select

from portal.audit import chain
from portal.gateways import messages, result_codes
from portal.gateways.models import Gateway
from portal.kernel import clock, personal, states, vault
from portal.kernel.db import db
from portal.payments import booking, completion, matching, provisional
from portal.payments.booking import IncomingPayment
from portal.payments.inbox.outcome import AGAIN, CallbackOutcome
from portal.payments.models import InboxItem, Payment, Push, Transaction
from portal.payments.payment import lock_payment
from portal.payments.processing import results
from portal.payments.states import InboxState
from portal.payments.stk.push_states import State, move
from portal.payments.webhook import webhook

UNDECIDED_FOR = timedelta(minutes=2)
PAID, CALLED_BACK = "Paid, receipt {receipt}.", "M-Pesa called back: paid."


def settle(item: InboxItem, body: str) -> CallbackOutcome:
    """Take one callback in. The caller commits. Raises nothing that its sender caused."""
    gateway = db.session.get_one(Gateway, item.gateway_id)
    try:
        if item.kind == "stk":
            return _stk(item, gateway, messages.parse_stk_callback(body.encode()))
        if item.kind == "c2b":
            return _c2b(item, gateway, messages.parse_c2b(messages.read_json(body.encode())))
        if item.kind == "claim":
            return _claim(gateway, messages.parse_c2b(messages.read_json(body.encode())))
        if item.kind == "webhook":
            return webhook.settle(item, gateway, messages.parse_stk_callback(body.encode()))
        if item.kind == "result":
            return results.settle_result(item, gateway, body)
        if item.kind == "timeout":
            return results.settle_timeout(item, gateway, body)
    except messages.Malformed as error:
        return CallbackOutcome(InboxState.REJECTED, f"Not the shape of an M-Pesa callback: {error}")
    return CallbackOutcome(InboxState.REJECTED, f"Nothing here takes callbacks of kind {item.kind}.")


def payments_of(items: Sequence[InboxItem]) -> dict[int, int]:
    """Which payment each of these rows will lock, as far as it tells before it is settled: {row: payment}."""
    tokens = {item.push_token for item in items if item.kind == "stk"}
    of_push = select(Push.token, Push.payment_id).where(Push.token.in_(tokens))
    known = {row.token: row.payment_id for row in db.session.execute(of_push)}
    about = {item.id: known[item.push_token] for item in items if item.kind == "stk" and item.push_token in known}
    named = {item.id: (item.tenant_id, name) for item in items if item.kind == "c2b" and (name := _account_of(item))}
    names = {name for _tenant_id, name in named.values()}
    tenants = {tenant_id for tenant_id, _name in named.values()}
    of_name = select(Payment.tenant_id, Payment.reference, Payment.id)
    of_name = of_name.where(Payment.tenant_id.in_(tenants), Payment.reference.in_(names))
    of_prompt = select(Push.tenant_id, Push.reference, Push.payment_id)
    of_prompt = of_prompt.where(Push.tenant_id.in_(tenants), Push.reference.in_(names))
    by_name = {
        (tenant_id, reference): payment_id
        for rows in (of_prompt, of_name)
        for tenant_id, reference, payment_id in db.session.execute(rows)
    }
    return about | {item_id: by_name[name] for item_id, name in named.items() if name in by_name}


def _account_of(item: InboxItem) -> str:
    """The account that a payment by hand names; empty where it cannot be read, which settling it will say."""
    try:
        body = personal.open_text(item.body_sealed, item.tenant_id or 0) or ""
        return messages.normalise_account(messages.parse_c2b(messages.read_json(body.encode())).account)
    except (messages.Malformed, vault.CannotOpen):
        return ""


def _stk(item: InboxItem, gateway: Gateway, callback: messages.StkCallback) -> CallbackOutcome:
    named = (Push.gateway_id == gateway.id, Push.token == item.push_token)
    payment_id = db.session.scalar(select(Push.payment_id).where(*named))
    if payment_id is None:
        return _ask_about(callback.checkout_request_id, gateway, "No push of this gateway has that token.")
    payment = lock_payment(payment_id)
    push = db.session.scalars(select(Push).where(*named).execution_options(populate_existing=True)).one()
    named_hash = personal.checkout_hash(callback.checkout_request_id)
    if push.checkout_hash is None:
        twin = select(Push.id).where(Push.gateway_id == gateway.id, Push.checkout_hash == named_hash)
        if db.session.scalar(twin) is not None:
            return CallbackOutcome(InboxState.REJECTED, "Its CheckoutRequestID belongs to another push.", push.id)
        push.name_checkout(callback.checkout_request_id)
        push.merchant_request_id = callback.merchant_request_id
        db.session.flush()
    elif push.checkout_hash != named_hash:
        return CallbackOutcome(InboxState.REJECTED, "Its CheckoutRequestID is not this push's.", push.id, asks=True)
    if callback.result_code == "0":
        return _stk_success(item, gateway, payment, push, callback)
    if item.is_foreign and push.state != State.SUCCEEDED:
        return CallbackOutcome(
            InboxState.WAITING, "It came from an address that is not Safaricom's.", push.id, asks=True
        )
    return _stk_failure(push, callback.result_code, callback.result_desc, actor="stk callback")


def _stk_success(
    item: InboxItem, gateway: Gateway, payment: Payment, push: Push, callback: messages.StkCallback
) -> CallbackOutcome:
    before = booking.existing_bookings(gateway, callback.receipt, push) if callback.receipt else None
    known, answered = before or (None, None)
    if odd := judged(item, push, callback, known, answered):
        return odd
    incoming = incoming_payment_of(callback, push, item)
    completion.succeed(push, payment, gateway, incoming, why=CALLED_BACK, actor="stk callback", before=before)
    return CallbackOutcome(InboxState.DONE, PAID.format(receipt=callback.receipt), push.id)


def judged(
    item: InboxItem,
    push: Push,
    callback: messages.StkCallback,
    known: Transaction | None,
    answered: Transaction | None,
) -> CallbackOutcome | None:
    """Where a success goes that may not be believed as it stands; None where it may. Decides on values alone.

    known: the money of its receipt; answered: the money that answers the push already.
    """
    if callback.receipt is None or callback.amount_cents is None:
        return CallbackOutcome(InboxState.REJECTED, "A success without receipt or amount.", push.id, asks=True)
    if known is not None and known.push_id not in (None, push.id):
        return CallbackOutcome(
            InboxState.REJECTED, f"Receipt {callback.receipt} has paid another push.", push.id, asks=True
        )
    if known is not None and known.push_id is None and known.amount_cents != callback.amount_cents:
        return CallbackOutcome(
            InboxState.REJECTED, f"Receipt {callback.receipt} is known with another amount.", push.id
        )
    if known is None or known.channel == webhook.CHANNEL:  # else M-Pesa has told of this very money
        if why := _oddity(item, push, callback, answered):
            is_unsettled = push.state != State.SUCCEEDED
            return CallbackOutcome(InboxState.WAITING, why, push.id, asks=is_unsettled, asks_receipt=callback.receipt)
    return None


def _oddity(item: InboxItem, push: Push, callback: messages.StkCallback, answered: Transaction | None) -> str:
    """What forbids to believe this success before M-Pesa is asked, whatever became of the push; empty where nothing.

    answered: the money that answers the push already.
    """
    if answered is not None and answered.receipt not in (None, callback.receipt):
        return "Its prompt was paid by another receipt."
    if callback.amount_cents != push.amount_cents:
        return "It states another amount than was asked for."
    if item.is_foreign:
        return "It came from an address that is not Safaricom's."
    return ""


def incoming_payment_of(callback: messages.StkCallback, push: Push, item: InboxItem) -> IncomingPayment:
    """What a successful STK callback says of money."""
    asked, hashed = personal.open_phone(push.phone_sealed, push.tenant_id), push.phone_hash
    return IncomingPayment(
        channel="stk",
        amount_cents=callback.amount_cents or 0,
        occurred_at=callback.occurred_at or item.received_at,
        receipt=callback.receipt,
        account=push.reference,
        msisdn=asked,
        inbox_id=item.id,
        kept_phone=(push.phone_sealed, hashed) if push.phone_sealed and hashed else None,
    )


def ending_of(code: str) -> State | None:
    """How a push ends that failed with this result code; None where the code does not tell, and M-Pesa is asked."""
    return {"declined": State.DECLINED, "cancelled": State.CANCELLED}.get(result_codes.explain(code).kind)


def changes_nothing(code: str, state: State, push_id: int) -> CallbackOutcome:
    """A failure of a push that has ended."""
    return CallbackOutcome(InboxState.DONE, f"Result {code} changes nothing: the push has {state}.", push_id)


def _stk_failure(push: Push, code: str, description: str, *, actor: str) -> CallbackOutcome:
    state = State(push.state)
    if state == State.SUCCEEDED and provisional.contradict(push, f"M-Pesa: {code} {description}"):
        return CallbackOutcome(
            InboxState.DONE, f"Result {code} contradicts M-Pesa's answer to our query: a person decides.", push.id
        )
    if state in (State.SUCCEEDED, State.DECLINED, State.CANCELLED):
        return changes_nothing(code, state, push.id)
    new = ending_of(code)
    if new is not None:
        move(
            push,
            state,
            new,
            why=f"M-Pesa: {code} {description}",
            actor=actor,
            result_code=code,
            failure=f"{code} {description}"[:300],
        )
        return CallbackOutcome(InboxState.DONE, f"Result {code}.", push.id)
    if state != State.UNCONFIRMED and result_codes.explain(code).kind == "unclear":
        move(
            push,
            state,
            State.UNCONFIRMED,
            why=f"M-Pesa: {code} {description}",
            actor=actor,
            result_code=code,
            failure=f"{code} {description}"[:300],
        )
    return CallbackOutcome(InboxState.DONE, f"Result {code} settles nothing: M-Pesa is asked.", push.id, asks=True)


def _ask_about(checkout_request_id: str, gateway: Gateway | None, why: str) -> CallbackOutcome:
    """A callback that proves nothing may still be right: ask M-Pesa about the push that it names."""
    named = select(Push).where(Push.checkout_hash == personal.checkout_hash(checkout_request_id))
    if gateway is not None:
        named = named.where(Push.gateway_id == gateway.id)
    push = db.session.scalars(named.limit(1)).first()
    return CallbackOutcome(InboxState.REJECTED, why, push.id if push else None, asks=push is not None)


def _c2b(item: InboxItem, gateway: Gateway, paid: messages.C2bPayment) -> CallbackOutcome:
    if paid.shortcode not in matching.numbers_of(gateway):
        return CallbackOutcome(InboxState.WAITING, f"It names shortcode {paid.shortcode}, which is not this gateway's.")
    known = booking.find(gateway.tenant_id, gateway.environment, paid.receipt) if item.is_foreign else None
    if known is not None and known.amount_cents != paid.amount_cents:
        return CallbackOutcome(InboxState.REJECTED, f"Receipt {paid.receipt} is known with another amount.")
    if item.is_foreign and (known is None or known.channel == webhook.CHANNEL):
        return CallbackOutcome(
            InboxState.WAITING, "It came from an address that is not Safaricom's.", asks_receipt=paid.receipt
        )
    outcome = completion.settle_c2b(item, gateway, paid)
    if outcome.state == InboxState.WAITING and item.received_at > clock.now() - UNDECIDED_FOR:
        return CallbackOutcome(AGAIN, outcome.why)  # the callbacks of those prompts may tell them apart meanwhile
    return outcome


def _claim(gateway: Gateway, paid: messages.C2bPayment) -> CallbackOutcome:
    """What came without a token opens nothing: M-Pesa's answer about its receipt does (`results`)."""
    known = booking.find(gateway.tenant_id, gateway.environment, paid.receipt)
    if known is not None and known.channel != webhook.CHANNEL:
        return CallbackOutcome(InboxState.DONE, f"Receipt {paid.receipt} is known.")
    return CallbackOutcome(InboxState.WAITING, "It came without a token: M-Pesa is asked.", asks_receipt=paid.receipt)


def confirmed_by_query(push: Push, gateway: Gateway) -> None:
    """M-Pesa says this push is paid. A callback that waited for this word is believed now. The caller commits."""
    payment_id = push.payment_id
    payment = lock_payment(payment_id)
    db.session.refresh(push)
    told = matching.told_by_status(push) if push.state != State.SUCCEEDED else None
    for item in _to_believe(push, told):
        body = personal.open_text(item.body_sealed, gateway.tenant_id) or ""
        callback = messages.parse_stk_callback(body.encode())
        if callback.result_code == "0" and _is_borne_out(item, push, gateway, callback):
            completion.succeed(
                push,
                payment,
                gateway,
                incoming_payment_of(callback, push, item),
                why="M-Pesa confirmed it when asked.",
                actor="stk query",
            )
            confirmed = f"Confirmed by query, receipt {callback.receipt}."
            states.move(item, InboxState.DONE, outcome=confirmed, done_at=clock.now())
            return
    if push.state == State.SUCCEEDED:
        return
    refused_with = push.result_code if push.state in (State.DECLINED, State.CANCELLED) else None
    unknown_receipt = IncomingPayment(
        channel="query",
        amount_cents=push.amount_cents,
        occurred_at=clock.now(),
        receipt=told.receipt if told else None,
        account=push.reference,
        msisdn=personal.open_phone(push.phone_sealed, push.tenant_id),
    )
    completion.succeed(
        push,
        payment,
        gateway,
        unknown_receipt,
        why="M-Pesa says paid when asked." if told else "M-Pesa says paid when asked; its receipt is to follow.",
        actor="stk query",
    )
    if refused_with is not None:
        provisional.contradict(push, f"M-Pesa had refused it with {refused_with}, and says paid when asked.")


def _to_believe(push: Push, told: Transaction | None) -> list[InboxItem]:
    """The waiting callbacks that a query's "paid" may speak of. Where they name several receipts it cannot say which is
    true; and where M-Pesa told of money that can be nothing but this push's, it is that receipt.
    """
    waiting = _waiting_for(push)
    named = {item.receipt for item in waiting if item.receipt}
    if told is not None:
        return [item for item in waiting if item.receipt == told.receipt]
    return waiting if len(named) <= 1 else []


def _is_borne_out(item: InboxItem, push: Push, gateway: Gateway, callback: messages.StkCallback) -> bool:
    """Whether a waiting success may be believed now that M-Pesa says "paid": a query names no receipt, and no amount.

    Less than was asked for is booked as stated, which opens nothing; more, or less from an address of anybody's, waits
    for M-Pesa's word about its receipt.
    """
    if not callback.receipt or not callback.amount_cents or callback.amount_cents > push.amount_cents:
        return False
    if item.is_foreign and callback.amount_cents != push.amount_cents:
        return False
    known, answered = booking.existing_bookings(gateway, callback.receipt, push)
    is_others = known is not None and known.push_id not in (None, push.id)
    return not is_others and (answered is None or answered.receipt in (None, callback.receipt))


def refused_by_query(push: Push, code: str, description: str) -> None:
    """M-Pesa says this push failed, with a result code. The caller commits."""
    lock_payment(push.payment_id)
    db.session.refresh(push)
    said_before = push.result_code == code
    explained = result_codes.explain(code)
    if explained.kind == "unclear" and explained.code and said_before and push.state == State.UNCONFIRMED:
        # Told twice, by callback and by query: M-Pesa has nothing more to say of this push.
        move(push, State.UNCONFIRMED, State.DECLINED, why=f"M-Pesa: {code} {description}", actor="stk query")
    else:
        _stk_failure(push, code, description, actor="stk query")
        if push.state == State.UNCONFIRMED:  # what M-Pesa said, to be known when it says it again
            push.result_code, push.failure = code, f"{code} {description}"[:300]
            db.session.flush()
    if push.state in (State.DECLINED, State.CANCELLED):
        contradict(push, code)


def contradict(push: Push, code: str) -> None:
    """M-Pesa, asked about a push, says that it failed: callbacks that waited for its word are over. The caller commits.

    But a success that names a receipt: if M-Pesa does not know that either, a person decides.
    """
    for item in _waiting_for(push):
        item.outcome = why = f"M-Pesa says {code} when asked."
        if item.receipt is None:
            states.move(item, InboxState.REJECTED, done_at=clock.now())
        chain.record(push.tenant_id, "push", push.id, "callback_contradicted", actor="stk query", why=why)
    push.next_query_at = None
    db.session.flush()


def _waiting_for(push: Push) -> list[InboxItem]:
    return list(
        db.session.scalars(
            select(InboxItem)
            .where(
                InboxItem.tenant_id == push.tenant_id,
                InboxItem.push_id == push.id,
                InboxItem.state == InboxState.WAITING,
            )
            .order_by(InboxItem.id)
        )
    )
