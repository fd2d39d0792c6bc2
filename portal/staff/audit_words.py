"""The audit's words for those who read it: what is kept stays English, what is shown is in the reader's language.

A word that is not here is shown as it was kept, with spaces for underscores.
"""

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from portal.payments.models import Payment

SUBJECTS = {
    "push": _l("Request"),
    "payment": _l("Payment"),
    "access": _l("Pass"),
    "transaction": _l("Money"),
    "invoice": _l("Invoice"),
    "refund": _l("Refund"),
    "appointment": _l("Appointment"),
    "queue_ticket": _l("Number"),
    "shift": _l("Shift"),
}
ACTIONS = {
    "access_ended": _l("access ended"),
    "access_opened": _l("access opened"),
    "access_opened_again": _l("access opened again"),
    "access_extended": _l("more time"),
    "access_lifted": _l("let in again"),
    "access_moved": _l("moved to another device"),
    "access_package_changed": _l("package changed"),
    "access_suspended": _l("suspended"),
    "allocated": _l("placed"),
    "amount_differs": _l("amount differs"),
    "approved": _l("approved"),
    "arrival_undone": _l("not here after all"),
    "arrived": _l("is here"),
    "asks_less": _l("asks for less"),
    "booked": _l("booked"),
    "callback_refused": _l("answer refused"),
    "closed": _l("closed"),
    "corrected": _l("corrected"),
    "credited": _l("kept as credit"),
    "credit_undone": _l("credit taken back"),
    "credit_note": _l("credit note"),
    "discount_asked": _l("discount asked for"),
    "discount_given": _l("discount given"),
    "discount_refused": _l("discount refused"),
    "explained": _l("difference explained"),
    "issued": _l("issued"),
    "made_credit": _l("kept as credit"),
    "merged": _l("merged"),
    "message_pasted": _l("message pasted"),
    "moved": _l("moved"),
    "noted": _l("note added"),
    "opened": _l("opened"),
    "opened_unverified": _l("opened before it was checked"),
    "paid": _l("paid"),
    "part_paid": _l("paid in part"),
    "printed": _l("receipt printed"),
    "receipt_learnt": _l("receipt learnt"),
    "requested": _l("requested"),
    "reversed": _l("reversed"),
    "taken_off": _l("taken off"),
    "voided": _l("voided"),
}
STATES = {
    "created": _l("created"),
    "sending": _l("sending"),
    "awaiting_pin": _l("awaiting pin"),
    "unconfirmed": _l("unconfirmed"),
    "succeeded": _l("succeeded"),
    "declined": _l("declined"),
    "cancelled": _l("cancelled"),
    "requested": _l("requested"),
    "approved": _l("approved"),
    "sent": _l("sent"),
    "unknown": _l("unknown"),
    "done": _l("done"),
    "failed": _l("failed"),
    "open": _l("open"),
    "paid": _l("paid"),
    "closed": _l("closed"),
    "confirmed": _l("confirmed"),
    "pending_approval": _l("pending approval"),
    "started": _l("begun"),
    "completed": _l("completed"),
    "no_show": _l("did not come"),
}
ACTORS = {
    "command line": _l("command line"),
    "daraja": _l("M-Pesa"),
    "fulfilment": _l("Mlango, after payment"),
    "pasted message": _l("pasted message"),
    "payer": _l("the payer"),
    "policy": _l("the rules"),
    "pull": _l("M-Pesa's list of payments"),
    "result": _l("M-Pesa's answer"),
    "statement": _l("M-Pesa's statement"),
    "status": _l("M-Pesa's answer about a receipt"),
    "stk callback": _l("M-Pesa's answer to the request"),
    "stk query": _l("our question to M-Pesa"),
    "c2b": _l("M-Pesa's report of money received"),
    "c2b confirmation": _l("M-Pesa's report of money received"),
    "stk": _l("M-Pesa's answer to the request"),
    "query": _l("our question to M-Pesa"),
    "sweeper": _l("Mlango"),
    "worker": _l("Mlango"),
}


def _of(words: "dict[str, object]", kept: str | None) -> str:
    return str(words.get(kept or "", (kept or "").replace("_", " ")))


def what(subject_kind: str, action: str) -> str:
    """`Request: moved`."""
    return f"{_of(SUBJECTS, subject_kind)}: {_of(ACTIONS, action)}"


def state(kept: str | None) -> str:
    """A state in words; anything else, such as a receipt, as it is."""
    return _of(STATES, kept)


def who(actor: str) -> str:
    """Who did it, where it was no person."""
    return _of(ACTORS, actor)


def title_of(payment: Payment) -> str:
    """What a payment is for, as its reader says it: an invoice keeps its title in the language that made it."""
    if payment.purpose == "clinic":
        return _("Invoice %(number)s", number=payment.reference)
    return payment.title or payment.reference
