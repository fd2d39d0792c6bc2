"""What the rows of money can be, and which moves are legal.

    push         created -> sending -> awaiting_pin -> succeeded | declined | cancelled
                 sending | awaiting_pin -> unconfirmed              its answer was lost, or 120 s passed
                 unconfirmed -> succeeded | declined | cancelled    when M-Pesa's word arrives
                 sending -> created                                 it certainly was not sent
                 created | sending -> declined                      M-Pesa refused it before any phone rang
                 created -> cancelled                               paid by other means before it was sent
                 declined | cancelled | created -> succeeded        corrections: money that arrived is a fact
    inbox row    new -> done | waiting | rejected | dead            waiting -> new | done | rejected
                 done | rejected | dead -> new                      a person has it settled anew
    request      created -> sent -> answered | unknown | failed     sent | unknown | failed -> created: once more
                 created | unknown | failed -> answered             its answer came all the same
                 created | failed -> unknown, unknown -> failed     M-Pesa gave up; its tries are used up
                 each but sent -> itself                            said again; an answer may be taken back by M-Pesa
    refund       requested -> approved -> sending -> sent -> done   sending | sent -> unknown -> done | failed
                 sending -> approved                                it certainly was not sent
                 requested | approved | sending | sent -> failed    a person or M-Pesa said no
                 approved | sending | failed -> done                M-Pesa tells that the money went after all
    submission   queued -> accepted | refused                       a pasted message
    report       held -> agreed | refused                           what another system alone says
    payment      open -> paid | closed                              paid | closed -> open: owed, or offered, again

The graphs are data; tests hold every pair of states against them.
"""

from enum import StrEnum

from portal.kernel.states import Graph


class PushState(StrEnum):
    CREATED = "created"
    SENDING = "sending"
    AWAITING_PIN = "awaiting_pin"
    UNCONFIRMED = "unconfirmed"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"


PUSH_OPEN = frozenset({PushState.CREATED, PushState.SENDING, PushState.AWAITING_PIN})
PUSH_FINAL = frozenset({PushState.SUCCEEDED, PushState.DECLINED, PushState.CANCELLED})
PUSH = Graph(
    {
        PushState.CREATED: {PushState.SENDING, *PUSH_FINAL},
        PushState.SENDING: {PushState.AWAITING_PIN, PushState.UNCONFIRMED, PushState.CREATED, *PUSH_FINAL},
        PushState.AWAITING_PIN: {PushState.UNCONFIRMED, *PUSH_FINAL},
        PushState.UNCONFIRMED: PUSH_FINAL,
        PushState.DECLINED: {PushState.SUCCEEDED},
        PushState.CANCELLED: {PushState.SUCCEEDED},
        PushState.SUCCEEDED: (),
    }
)


class InboxState(StrEnum):
    NEW = "new"
    WAITING = "waiting"  # for M-Pesa's word, or for a person
    DONE = "done"
    REJECTED = "rejected"
    DEAD = "dead"  # staff must look


INBOX = Graph(
    {
        InboxState.NEW: {InboxState.DONE, InboxState.WAITING, InboxState.REJECTED, InboxState.DEAD},
        InboxState.WAITING: {InboxState.NEW, InboxState.DONE, InboxState.REJECTED},
        InboxState.DONE: {InboxState.NEW},
        InboxState.REJECTED: {InboxState.NEW},
        InboxState.DEAD: {InboxState.NEW},
    }
)


class RequestState(StrEnum):
    CREATED = "created"
    SENT = "sent"
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    FAILED = "failed"


REQUEST = Graph(
    {
        RequestState.CREATED: {
            RequestState.CREATED,
            RequestState.SENT,
            RequestState.ANSWERED,
            RequestState.UNKNOWN,
            RequestState.FAILED,
        },
        RequestState.SENT: {
            RequestState.CREATED,
            RequestState.ANSWERED,
            RequestState.UNKNOWN,
            RequestState.FAILED,
        },
        RequestState.UNKNOWN: {
            RequestState.CREATED,
            RequestState.ANSWERED,
            RequestState.UNKNOWN,
            RequestState.FAILED,
        },
        RequestState.FAILED: {
            RequestState.CREATED,
            RequestState.ANSWERED,
            RequestState.UNKNOWN,
            RequestState.FAILED,
        },
        RequestState.ANSWERED: {RequestState.ANSWERED},
    }
)


REQUEST_OPEN = frozenset({RequestState.CREATED, RequestState.SENT})


class RefundState(StrEnum):
    REQUESTED = "requested"  # waits for a second person
    APPROVED = "approved"
    SENDING = "sending"
    SENT = "sent"
    UNKNOWN = "unknown"  # its answer was lost: asked about, never sent again
    DONE = "done"
    FAILED = "failed"


REFUND = Graph(
    {
        RefundState.REQUESTED: {RefundState.APPROVED, RefundState.FAILED},
        RefundState.APPROVED: {RefundState.SENDING, RefundState.DONE, RefundState.FAILED},
        RefundState.SENDING: {
            RefundState.SENT,
            RefundState.APPROVED,
            RefundState.UNKNOWN,
            RefundState.DONE,
            RefundState.FAILED,
        },
        RefundState.SENT: {RefundState.UNKNOWN, RefundState.DONE, RefundState.FAILED},
        RefundState.UNKNOWN: {RefundState.DONE, RefundState.FAILED},
        RefundState.FAILED: {RefundState.DONE},
        RefundState.DONE: (),
    }
)
REFUND_UNDER_WAY = frozenset(
    {
        RefundState.REQUESTED,
        RefundState.APPROVED,
        RefundState.SENDING,
        RefundState.SENT,
        RefundState.UNKNOWN,
    }
)
REFUND_TOLD = frozenset({RefundState.SENDING, RefundState.SENT, RefundState.UNKNOWN})  # M-Pesa may have it
REFUND_UNSENT = frozenset({RefundState.REQUESTED, RefundState.APPROVED})


class SubmissionState(StrEnum):
    QUEUED = "queued"
    ACCEPTED = "accepted"
    REFUSED = "refused"


SUBMISSION = Graph(
    {
        SubmissionState.QUEUED: {SubmissionState.ACCEPTED, SubmissionState.REFUSED},
        SubmissionState.ACCEPTED: (),
        SubmissionState.REFUSED: (),
    }
)


class ReportState(StrEnum):
    HELD = "held"
    AGREED = "agreed"
    REFUSED = "refused"


REPORT = Graph(
    {
        ReportState.HELD: {ReportState.AGREED, ReportState.REFUSED},
        ReportState.AGREED: (),
        ReportState.REFUSED: (),
    }
)


class PaymentState(StrEnum):
    OPEN = "open"
    PAID = "paid"
    CLOSED = "closed"


PAYMENT = Graph(
    {
        PaymentState.OPEN: {PaymentState.PAID, PaymentState.CLOSED},
        PaymentState.PAID: {PaymentState.OPEN},
        PaymentState.CLOSED: {PaymentState.OPEN},
    }
)
