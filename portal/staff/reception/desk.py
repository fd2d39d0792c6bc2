"""What the buttons of a row do: who came, how the visit went, and how it is paid."""

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from portal import welcome
from portal.clinic import appointments, invoices, notifications
from portal.clinic.reception import arrivals, board, queue_tickets, shifts
from portal.clinic.reception.board import Row
from portal.kernel import money, personal, queue
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.phone import for_screens, normalise_msisdn
from portal.payments import manual, placing, search
from portal.payments.manual import Taken
from portal.payments.models import Payment, Transaction
from portal.payments.payment import payment_of
from portal.payments.sms import at_the_desk
from portal.payments.stk import pushes
from portal.staff.guard import actor, needs
from portal.staff.reception import rows
from portal.staff.reception.rows import Done
from portal.users.permissions import (
    APPROVE_APPOINTMENTS,
    PLACE_MONEY,
    RECORD_MANUAL,
    REQUEST_PAYMENT,
    SEE_MONEY,
    WORK_CLINIC,
)
from portal.web.links import pay_url

LONGEST_KEY, LONGEST_WORDS = 60, 4_000


def register_routes(bp: Blueprint) -> None:
    for action, view in (
        ("arrive", arrive),
        ("undo-arrival", undo_arrival),
        ("approve", approve),
        ("decline", decline),
        ("start", start),
        ("complete", complete),
        ("undo", undo),
        ("no-show", no_show),
    ):
        endpoint = f"desk_{action.replace('-', '_')}"
        bp.add_url_rule(f"/board/visits/<uid>/{action}", endpoint, view, methods=["POST"])
    for action, paying in (
        ("push", push), ("cash", cash), ("message", message), ("send", send), ("undo-money", undo_money),
    ):  # fmt: skip
        endpoint = f"desk_{action.replace('-', '_')}"
        bp.add_url_rule(f"/board/pay/<token>/{action}", endpoint, paying, methods=["POST"])


def _row_of(uid: str) -> Row:
    return board.row_of_visit(appointments.get_by_uid(g.tenant.id, uid))


@needs(WORK_CLINIC)
def arrive(uid: str) -> ResponseReturnValue:
    """They are here; who comes in person has a number."""

    def work() -> Done:
        visit = appointments.get_by_uid(g.tenant.id, uid)
        if not arrivals.arrive(visit, actor=actor()):
            return Done(_("Was written down as here already."))
        welcome.wifi_for(g.tenant, visit, actor=actor())
        ticket = queue_tickets.of_visit(visit)
        return Done(_("Here. Number %(number)s.", number=ticket.number) if ticket else _("Here."))

    answer = rows.do(lambda: _row_of(uid), work, ring=queue.OUTBOX)
    queue.enqueue(queue.SPREAD)  # the Wi-Fi pass, where one is given
    return answer


@needs(WORK_CLINIC)
def undo_arrival(uid: str) -> ResponseReturnValue:
    """They are not here after all."""

    def work() -> Done:
        arrivals.undo_arrival(appointments.get_by_uid(g.tenant.id, uid), actor=actor())
        return Done(_("Taken back: not here yet."))

    return rows.do(lambda: _row_of(uid), work)


@needs(APPROVE_APPOINTMENTS)
def approve(uid: str) -> ResponseReturnValue:
    """The visit may be: its invoice is issued, and it can be paid in the same row."""

    def work() -> Done:
        visit = appointments.get_by_uid(g.tenant.id, uid)
        appointments.approve(g.tenant, visit, actor=actor(), pay_url_of=pay_url)
        return Done(_("Approved. The patient has been told how to pay."))

    return rows.do(lambda: _row_of(uid), work, ring=queue.OUTBOX)


@needs(APPROVE_APPOINTMENTS)
def decline(uid: str) -> ResponseReturnValue:
    """The visit cannot be."""

    def work() -> Done:
        visit = appointments.get_by_uid(g.tenant.id, uid)
        appointments.decline(visit, why=request.form.get("why", "").replace("\0", "")[:200], actor=actor())
        return Done(_("Declined. The patient has been told."))

    return rows.do(lambda: _row_of(uid), work, ring=queue.OUTBOX)


@needs(WORK_CLINIC)
def start(uid: str) -> ResponseReturnValue:
    """They are with the clinician."""

    def work() -> Done:
        visit = appointments.get_by_uid(g.tenant.id, uid)
        appointments.start(visit, actor=actor())
        queue_tickets.seen(visit, actor=actor())
        return Done(_("The visit has begun."))

    return rows.do(lambda: _row_of(uid), work)


@needs(WORK_CLINIC)
def undo(uid: str) -> ResponseReturnValue:
    """It was said of the wrong visit: it stands as it did before."""

    def work() -> Done:
        appointments.undo(appointments.get_by_uid(g.tenant.id, uid), actor=actor())
        return Done(_("Taken back."))

    return rows.do(lambda: _row_of(uid), work)


@needs(WORK_CLINIC)
def complete(uid: str) -> ResponseReturnValue:
    """It took place."""

    def work() -> Done:
        visit = appointments.get_by_uid(g.tenant.id, uid)
        appointments.complete(visit, actor=actor())
        queue_tickets.seen(visit, actor=actor())
        return Done(_("Written down: the visit took place."))

    return rows.do(lambda: _row_of(uid), work)


@needs(WORK_CLINIC)
def no_show(uid: str) -> ResponseReturnValue:
    """The patient did not come."""

    def work() -> Done:
        visit = appointments.get_by_uid(g.tenant.id, uid)
        appointments.no_show(visit, actor=actor(), user_id=current_user.id)
        queue_tickets.take_back(visit, actor=actor())
        return Done(_("Written down: the patient did not come."))

    answer = rows.do(lambda: _row_of(uid), work, ring=queue.OUTBOX)
    queue.enqueue(queue.REQUESTS)  # what the terms give back
    return answer


def _payment(token: str) -> Payment:
    """An invoice of this clinic's, by its payment. Raises NotFound."""
    payment = payment_of(g.tenant.id, token)
    if invoices.of_payment(payment.id) is None:
        raise NotFound(_("There is no such invoice here."))
    return payment


def _row_paid_by(token: str) -> Row:
    invoice = invoices.of_payment(_payment(token).id)
    if invoice is None:
        raise NotFound(_("There is no such invoice here."))
    return board.row_of_bill(invoice)


def _form_key() -> str:
    return f"desk/{current_user.id}/{request.form.get('key', '')[:LONGEST_KEY]}" if request.form.get("key") else ""


@needs(REQUEST_PAYMENT)
def push(token: str) -> ResponseReturnValue:
    """Ask any phone for what is due. One that rings already goes on ringing."""

    def work() -> Done:
        payment = _payment(token)
        typed = request.form.get("phone", "").strip()
        msisdn = normalise_msisdn(typed) if typed else _phone_of(payment)
        asked = pushes.request_push(payment.id, msisdn, actor=actor(), idempotency_key=_form_key() or None)
        if not asked.is_new:
            return Done(_("%(phone)s is being asked already.", phone=pushes.describe(asked.push)))
        return Done(_("%(phone)s is being asked.", phone=pushes.describe(asked.push)))

    return rows.do(lambda: _row_paid_by(token), work, ring=queue.SEND_PUSHES)


def _phone_of(payment: Payment) -> str:
    """The number that was asked last, else the payer's. Raises Refused where none is known."""
    sealed = payment.pushes[-1].phone_sealed if payment.pushes else payment.phone_sealed
    msisdn = personal.open_phone(sealed, payment.tenant_id)
    if not msisdn:
        raise Refused(_("Enter the M-Pesa number."), code="invalid_phone")
    return msisdn


@needs(RECORD_MANUAL)
def cash(token: str) -> ResponseReturnValue:
    """Cash over the counter, into the drawer of who is signed in; the change is told."""

    def work() -> Done:
        payment = _payment(token)
        shift = shifts.held(g.tenant.id, current_user.id)
        if shift is None:
            raise Refused(_("Open your shift first: cash belongs in a drawer that is counted."), code="no_shift")
        tendered_cents = manual.read_amount(request.form.get("tendered"))
        taken = Taken(tendered_cents, "cash", actor(), current_user.id, key=_form_key(), gives_change=True)
        booked = manual.for_payment(g.tenant.id, payment.token, taken)
        shifts.took(shift, booked, tendered_cents=tendered_cents)
        amount, receipt = money.format_kes(booked.amount_cents), booked.receipt or ""
        sentence = _("%(amount)s in cash, %(receipt)s.", amount=amount, receipt=receipt)
        return Done(sentence, change_cents=tendered_cents - booked.amount_cents)

    return rows.do(lambda: _row_paid_by(token), work, ring=queue.PAID)


@needs(PLACE_MONEY)
def message(token: str) -> ResponseReturnValue:
    """A code that the payer shows, or their whole message: its money is for this invoice."""

    def work() -> Done:
        payment = _payment(token)
        words = request.form.get("words", "").replace("\0", "")[:LONGEST_WORDS]
        used = at_the_desk.use(g.tenant, payment, words, actor=actor())
        if used.what == "placed":
            amount = money.format_kes(used.cents)
            return Done(_("%(receipt)s found: %(amount)s.", receipt=used.receipt, amount=amount))
        if used.what == "asked":
            return Done(
                _("M-Pesa is being asked about %(receipt)s. Its money shows at the side.", receipt=used.receipt)
            )
        return Done(_("%(receipt)s waits among the messages to check.", receipt=used.receipt))

    answer = rows.do(lambda: _row_paid_by(token), work, ring=queue.PAID)
    queue.enqueue(queue.REQUESTS)
    return answer


@needs(WORK_CLINIC)
def send(token: str) -> ResponseReturnValue:
    """The receipt's address to the phone that was asked last, else the payer's; another one on the invoice's page."""

    def work() -> Done:
        payment = _payment(token)
        invoice = invoices.of_payment(payment.id)
        if invoice is None or not payment.allocated_cents:
            raise Refused(_("Nothing is paid on it yet."))
        msisdn = _phone_of(payment)
        is_new = notifications.receipt_by_sms(invoice, msisdn=msisdn, url=f"{pay_url(payment)}/receipt")
        phone = for_screens(msisdn)
        if not is_new:
            return Done(_("It was sent to %(phone)s already.", phone=phone))
        return Done(_("The receipt is on its way to %(phone)s.", phone=phone))

    return rows.do(lambda: _row_paid_by(token), work, ring=queue.OUTBOX)


@needs(SEE_MONEY)
def undo_money(token: str) -> ResponseReturnValue:
    """Take back what this person took or placed here by mistake, within minutes."""

    def work() -> Done:
        payment, uid = _payment(token), request.form.get("uid", "")[:40]
        last = _money(uid)
        if last.provider == manual.PROVIDER:
            _undo_taken(uid)
        elif rows.may(PLACE_MONEY) and rows.placed_by(payment, last) == actor():
            placing.undo(g.tenant.id, uid, payment.id, actor=actor())
        else:
            raise Conflict(_("Only who placed this money can take it off again, within minutes."), code="too_late")
        return Done(_("Taken back. It is due again."))

    return rows.do(lambda: _row_paid_by(token), work, ring=queue.WITHDRAW)


def _money(uid: str) -> Transaction:
    """The money that a row's button names. Raises Refused where it names none, which is said in the row."""
    try:
        return search.by_uid(g.tenant.id, uid)
    except NotFound as error:
        raise Refused(error.message, code=error.code) from error


def _undo_taken(uid: str) -> None:
    """Cash goes back over the counter: out of the same drawer, while it is open."""
    shift = shifts.held(g.tenant.id, current_user.id)
    taken = _money(uid)
    if taken.recorded_by_id != current_user.id or not rows.may(RECORD_MANUAL):
        raise Conflict(_("Only who took this money can take it back here."), code="not_yours")
    arrivals.refuse_late_undo(taken.created_at)
    taken_in = shifts.of_money([taken.id]).get(taken.id)
    if taken_in is not None and (shift is None or taken_in.id != shift.id):
        raise Conflict(_("The shift that it was taken in is closed. Ask an administrator."), code="too_late")
    manual.void(g.tenant.id, [uid], why=_("Taken back at the desk."), actor=actor())
