"""How a payment stands: the API's status word, and the payer's own word with a sentence and what to do next."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, select

from portal.gateways import result_codes
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.payments import booking
from portal.payments.models import Payment, Push, SmsSubmission, Transaction
from portal.payments.sms import submissions
from portal.payments.states import PaymentState, SubmissionState
from portal.payments.stk.push_states import OPEN, State
from portal.payments.stk.pushes import ANSWER_WITHIN, may_push_again_at

FAST_S, MIDDLE_S, SLOW_S = 1, 3, 10
FAST_UNTIL_S, MIDDLE_UNTIL_S = 20, 120


@dataclass(frozen=True)
class Standing:
    """One payment, as it stands now. status: the API's word; word: the payer's; sentences are for whoever looks."""

    status: str
    word: str
    headline: Text
    sentence: Text
    next_step: Text
    result_code: str | None
    retry_in_s: int | None
    can_retry: bool
    push: Push | None
    is_open_unverified: bool = False

    @property
    def is_settling(self) -> bool:
        """Whether something may still change by itself."""
        return self.word in ("waiting", "checking", "preparing")


STILL_HOPED_FOR = timedelta(minutes=10)


def last_push(payment: Payment) -> Push | None:
    """The attempt that tells how a payment stands, or None: the latest.

    But the one that paid before any other; and one of these minutes that may still be paid before a later one that
    failed.
    """
    may_still_be_paid = Push.state.in_(OPEN | {State.UNCONFIRMED}) & (Push.created_at > clock.now() - STILL_HOPED_FOR)
    tells = Push.state == State.SUCCEEDED if payment.state == PaymentState.PAID else may_still_be_paid
    mine = select(Push).where(Push.payment_id == payment.id)
    return db.session.scalars(mine.order_by(case((tells, 1), else_=0).desc(), Push.id.desc()).limit(1)).first()


def standing(payment: Payment) -> Standing:
    """Where this payment stands. Reads, never writes."""
    push = last_push(payment)
    status = status_word(payment, push)
    if payment.state == PaymentState.PAID:
        return _paid(payment, status, push)
    claim = submissions.of_payment(payment.id) if push is None and payment.purpose == "hotspot" else None
    if claim is not None and claim.state != SubmissionState.ACCEPTED:
        return _claimed(status, claim)
    if payment.state == PaymentState.CLOSED:
        return Standing(
            status,
            "not_paid",
            _("Closed"),
            _("This can no longer be paid."),
            _("Ask the staff for a new one."),
            None,
            None,
            False,
            push,
        )
    if payment.paid_at and (gone := _gone_since(payment, push)):
        return _taken_back(status, gone, push)
    if push is None or push.state == State.SUCCEEDED:
        headline, sentence = _open_words(payment)
        return Standing(status, "ready", headline, sentence, "", push.result_code if push else None, None, True, push)
    if push.state in (State.DECLINED, State.CANCELLED):
        return _not_paid(status, push)
    return _under_way(status, push)


def _open_words(payment: Payment) -> tuple[Text, Text]:
    """Headline and sentence of what nobody is being asked for now."""
    if not payment.allocated_cents:
        return _("Ready to pay"), ""
    if payment.enough_cents and not payment.deposit_due_cents:
        return _("The deposit is paid"), _("That is enough for now. The rest can be paid here, now or later.")
    return _("Part paid"), _("A part has arrived. Pay the rest to finish.")


def _gone_since(payment: Payment, push: Push | None) -> Transaction | None:
    """The money that paid this open payment and was taken back, unless something was tried since."""
    gone = booking.last_taken_back(payment.id)
    at = gone and (gone.reversed_at or gone.voided_at)
    return gone if at and (push is None or push.created_at <= at) else None


def _taken_back(status: str, gone: Transaction, push: Push | None) -> Standing:
    """It was paid, and is not any more."""
    if gone.receipt is None:
        headline, sentence = _("Not paid"), _("The staff found that M-Pesa does not have this payment.")
    elif gone.reversed_at:
        headline = _("Your money went back")
        sentence = _("M-Pesa reversed your payment %(receipt)s, so this is not paid any more.", receipt=gone.receipt)
    else:
        headline = _("Not paid")
        sentence = _("The staff had written down a payment by mistake and took it back.")
    word = "not_paid" if push else "ready"  # with a phone to ask again, or without
    return Standing(status, word, headline, sentence, _("Pay again, or ask the staff."), None, None, True, push)


def _claimed(status: str, claim: SmsSubmission) -> Standing:
    """Paid by hand, says a pasted message: a person looks, and the page waits with the payer."""
    if claim.state == SubmissionState.REFUSED:
        return Standing(
            status, "not_paid", _("Not found"), _("The staff did not find this payment."),
            _("Show them the M-Pesa message on your phone."), None, None, False, None,
        )  # fmt: skip
    if claim.opened_at is not None:
        return Standing(
            status, "checking", _("Open for now"), _("Open until we have checked your payment."),
            _("Keep your M-Pesa message."), None, None, False, None, is_open_unverified=True,
        )  # fmt: skip
    return Standing(
        status, "checking", _("Waiting for the staff"),
        _("We have your message. The staff check it, then your internet opens."),
        _("This page tells you the result by itself."), None, None, False, None,
    )  # fmt: skip


def status_word(payment: Payment, push: Push | None) -> str:
    """The API's status: pending, processing, timed_out, failed, cancelled, paid, partially_refunded, refunded."""
    if payment.state == PaymentState.PAID:
        if payment.refunded_cents and payment.refunded_cents >= payment.amount_cents:
            return "refunded"
        return "partially_refunded" if payment.refunded_cents else "paid"
    if payment.state == PaymentState.CLOSED:
        return "cancelled"
    if push is None or push.state in (State.CREATED, State.SENDING, State.SUCCEEDED):
        return "pending"
    if push.state == State.AWAITING_PIN:
        return "processing"
    if push.state == State.UNCONFIRMED:
        return "processing" if clock.now() - (push.sent_at or push.created_at) < ANSWER_WITHIN else "timed_out"
    return "failed" if push.state == State.DECLINED else "cancelled"


def _paid(payment: Payment, status: str, push: Push | None) -> Standing:
    if payment.fulfilled_at is None:
        return Standing(
            status,
            "preparing",
            _("Paid"),
            _("Paid. We are preparing what you bought…"),
            _("Stay on this page."),
            "0",
            None,
            False,
            push,
        )
    if status == "refunded":
        sentence = _("All of your money was sent back to you.")
        return Standing(status, "paid", _("Refunded"), sentence, "", "0", None, False, push)
    headline = _("Partly refunded") if status == "partially_refunded" else _("Paid")
    return Standing(status, "paid", headline, _("Thank you. Your payment has arrived."), "", "0", None, False, push)


def _not_paid(status: str, push: Push) -> Standing:
    until = may_push_again_at(push)
    retry_in_s = max(0, int((until - clock.now()).total_seconds() + 0.999)) if until else 0
    if push.result_code is None:
        return Standing(
            status, "not_paid", _("M-Pesa is not answering"),
            _("We could not reach M-Pesa. You have not been charged."),
            _("Try again in a moment, or pay by hand."), None, retry_in_s or None, True, push,
        )  # fmt: skip
    said = result_codes.explain(push.result_code)
    if said.kind == "unclear":  # asked about, and M-Pesa has nothing more to say
        sentence = _("M-Pesa could not finish it. You have not been charged.")
        next_step = _("Try again when the time is up.") if retry_in_s else _("Try again.")
        return Standing(
            status, "not_paid", _("Not paid"), sentence, next_step, push.result_code, retry_in_s or None, True, push
        )
    headline = _("You cancelled") if push.state == State.CANCELLED else _("Not paid")
    return Standing(
        status,
        "not_paid",
        headline,
        said.sentence,
        said.next_step,
        push.result_code,
        retry_in_s or None,
        True,
        push,
    )


def _under_way(status: str, push: Push) -> Standing:
    until = may_push_again_at(push)
    retry_in_s = max(0, int((until - clock.now()).total_seconds() + 0.999)) if until else None
    if push.state in (State.CREATED, State.SENDING):
        sentence = _("We are sending the request to your phone.")
        if push.sends and push.state == State.CREATED:
            sentence = _("M-Pesa is not answering. We try again in 30 seconds; you have not been charged.")
        return Standing(
            status,
            "waiting",
            _("Contacting M-Pesa"),
            sentence,
            _("Keep your phone at hand."),
            None,
            None,
            False,
            push,
        )
    if push.state == State.AWAITING_PIN:
        return Standing(
            status, "waiting", _("Check your phone"), _("Check your phone and enter your M-Pesa PIN."),
            _("Never tell anyone your PIN."), None, None, False, push,
        )  # fmt: skip
    if status == "timed_out":
        sentence = _("We could not confirm it yet. Look for the M-Pesa message on your phone before you try again.")
        next_step = _("If money left your account, it is not lost: it will show here as soon as M-Pesa tells us.")
    else:
        sentence = _("We are checking with M-Pesa. Do not pay again yet.")
        next_step = _("This page tells you the result by itself.")
    can_retry = status == "timed_out"
    return Standing(
        status,
        "checking",
        _("Checking with M-Pesa"),
        sentence,
        next_step,
        push.result_code,
        retry_in_s if can_retry else None,
        can_retry,
        push,
    )


def phase(payment_pushed_at: object) -> int:
    """How patient a page should be: 0, 1 or 2 by the age of the last push. Part of what a poll carries."""
    age_s = (clock.now() - payment_pushed_at).total_seconds() if payment_pushed_at else MIDDLE_UNTIL_S  # type: ignore[operator]
    return 0 if age_s < FAST_UNTIL_S else 1 if age_s < MIDDLE_UNTIL_S else 2


def poll_after_s(current_phase: int) -> int:
    """Seconds between two polls in this phase."""
    return (FAST_S, MIDDLE_S, SLOW_S)[current_phase]
