"""Patients, clinicians, appointments and invoices."""

from functools import partial
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.api.guard import Fields, Router, body, body_if_any, principal, read_cursor, text_of
from portal.api.schemas import contract, page_of
from portal.clinic import appointments, invoices, notifications, people, policies
from portal.clinic.models import Appointment, Clinician, Invoice, Patient
from portal.kernel import clock, money, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payments import status
from portal.tenants.models import Tenant
from portal.users.permissions import APPROVE_APPOINTMENTS, SEE_CLINIC, WORK_CLINIC
from portal.web.links import pay_url, visit_url

PAGE_ROWS = 50


def register_routes(router: Router) -> None:
    router.add("GET", "/patients", patients, who=SEE_CLINIC)
    router.add("POST", "/patients", register_patient, who=WORK_CLINIC)
    router.add("GET", "/clinicians", clinicians, who=SEE_CLINIC)
    router.add("GET", "/appointments", appointment_list, who=SEE_CLINIC)
    router.add("POST", "/appointments", book, who=WORK_CLINIC)
    router.add("GET", "/appointments/<uid>", appointment, who=SEE_CLINIC)
    router.add("POST", "/appointments/<uid>/approve", approve, who=APPROVE_APPOINTMENTS)
    router.add("POST", "/appointments/<uid>/decline", decline, who=APPROVE_APPOINTMENTS)
    router.add("POST", "/appointments/<uid>/cancel", cancel, who=WORK_CLINIC)
    router.add("POST", "/appointments/<uid>/reschedule", reschedule, who=WORK_CLINIC)
    router.add("POST", "/appointments/<uid>/start", start, who=WORK_CLINIC)
    router.add("POST", "/appointments/<uid>/complete", complete, who=WORK_CLINIC)
    router.add("POST", "/appointments/<uid>/no-show", no_show, who=WORK_CLINIC)
    router.add("GET", "/invoices", invoice_list, who=SEE_CLINIC)
    router.add("POST", "/invoices", issue, who=WORK_CLINIC)
    router.add("GET", "/invoices/<number>", invoice, who=SEE_CLINIC)


def _clinic() -> Tenant:
    tenant = db.session.get_one(Tenant, principal().tenant_id)
    if not tenant.is_clinic:
        raise Refused("This business is not a clinic.", code="not_a_clinic")
    return tenant


def patient_to_json(person: Patient) -> dict[str, Any]:
    """A patient as the contract writes them."""
    return {
        "id": person.uid,
        "name": people.name_of(person),
        "phone": personal.open_phone(person.phone_sealed, person.tenant_id),
        "email": personal.open_text(person.email_sealed, person.tenant_id),
    }


def clinician_to_json(person: Clinician) -> dict[str, Any]:
    """A clinician as the contract writes them."""
    return {"id": person.uid, "name": person.name, "title": person.title, "fee": money.kes(person.fee_cents)}


def appointment_to_json(one: Appointment) -> dict[str, Any]:
    """An appointment as the contract writes it."""
    payment = one.invoice.payment if one.invoice else None
    is_over = one.status in ("cancelled", "declined")
    return {
        "id": one.uid,
        "status": one.public_status,
        "startedAt": clock.rfc3339(one.started_at) if one.started_at else None,
        "kind": one.kind,
        "startsAt": clock.rfc3339(one.starts_at),
        "durationMinutes": one.duration_minutes,
        "price": money.kes(one.price_cents),
        "patientId": one.patient.uid,
        "clinicianId": one.clinician.uid,
        "invoiceNumber": one.invoice_number,
        "amountDue": 0 if is_over else money.kes(payment.due_cents if payment else one.price_cents),
        "paymentId": payment.token if payment else None,
        "payUrl": pay_url(payment) if payment and not is_over else None,
        "deposit": money.kes(one.deposit_cents) if one.deposit_cents else None,
        "meetingUrl": one.meeting_url if one.status in ("confirmed", "started", "completed") else None,
        "place": one.place or None,
    }


def invoice_to_json(one: Invoice) -> dict[str, Any]:
    """An invoice as the contract writes it."""
    payment = one.payment
    return {
        "id": one.uid,
        "number": one.number,
        "amount": money.kes(payment.amount_cents),
        "amountDue": 0 if one.voided_at else money.kes(payment.due_cents),
        "status": invoices.status_of(one),
        "paymentStatus": status.status_word(payment, status.last_push(payment)),
        "paymentId": payment.token,
        "payUrl": pay_url(payment),
        "lines": [
            {
                "kind": line.kind,
                "description": line.description,
                "quantity": line.quantity,
                "amount": money.kes(line.amount_cents),
                "priceItemId": line.price_item.uid if line.price_item else None,
            }
            for line in one.lines
        ],
    }


@contract(page_of("Patient"), query=("cursor",))
def patients() -> ResponseReturnValue:
    """Patients, newest first."""
    found = people.patients(_clinic().id, limit=PAGE_ROWS, before_id=read_cursor())
    return jsonify(items=[patient_to_json(one) for one in found], nextCursor=_next(found))


def _next(found: list[Any]) -> str | None:
    return str(found[-1].id) if len(found) == PAGE_ROWS else None


@contract("Patient", takes="NewPatient", answers=(201,))
def register_patient() -> ResponseReturnValue:
    """Register a patient."""
    given = body()
    with transaction():
        tenant = _clinic()
        patient = people.register(
            tenant.id,
            name=text_of(given, "name", required=False),
            phone=given.get("phone"),
            email=text_of(given, "email", required=False),
            actor=principal().actor,
        )
        answer = patient_to_json(patient)
    return jsonify(answer), 201


@contract(page_of("Clinician"))
def clinicians() -> ResponseReturnValue:
    """Clinicians."""
    return jsonify(items=[clinician_to_json(one) for one in people.clinicians(_clinic().id)], nextCursor=None)


@contract(page_of("Appointment"), query=("cursor",))
def appointment_list() -> ResponseReturnValue:
    """Appointments, newest first."""
    found = appointments.latest(_clinic().id, limit=PAGE_ROWS, before_id=read_cursor())
    return jsonify(items=[appointment_to_json(one) for one in found], nextCursor=_next(found))


@contract("Appointment", takes="NewAppointment", answers=(201,))
def book() -> ResponseReturnValue:
    """Ask for an appointment; it waits for approval."""
    given = body()
    with transaction():
        tenant = _clinic()
        patient = people.patient(tenant.id, given.get("patientId"))
        clinician = people.clinician(tenant.id, given.get("clinicianId"))
        price = partial(money.payable_cents, limit_cents=tenant.push_limit_cents)
        fields = Fields(given)
        kind = fields.read("kind", appointments.read_kind, "")
        starts_at = fields.read("startsAt", appointments.read_start, clock.now())
        duration_minutes = fields.read("durationMinutes", appointments.read_minutes, 0)
        price_cents = fields.read("price", price, 0)
        fields.refuse_wrong("The appointment is not complete.")
        booked = appointments.book(
            tenant,
            patient=patient,
            clinician=clinician,
            kind=kind,
            starts_at=starts_at,
            duration_minutes=duration_minutes,
            price_cents=price_cents,
            overlap_why=text_of(given, "overlapReason", required=False)[:200],
            actor=principal().actor,
        )
        notifications.asked_for(booked, visit_url=visit_url(booked))
        answer = appointment_to_json(booked)
    queue.enqueue(queue.OUTBOX)
    return jsonify(answer), 201


@contract("Appointment")
def appointment(uid: str) -> ResponseReturnValue:
    """One appointment."""
    return jsonify(appointment_to_json(appointments.get_by_uid(_clinic().id, uid)))


@contract("Appointment")
def approve(uid: str) -> ResponseReturnValue:
    """Approve it: its invoice is issued, and the patient is told how to pay."""
    with transaction():
        tenant = _clinic()
        one = appointments.get_by_uid(tenant.id, uid)
        appointments.approve(tenant, one, actor=principal().actor, pay_url_of=pay_url)
        answer = appointment_to_json(one)
    queue.enqueue(queue.OUTBOX)
    return jsonify(answer)


@contract("Appointment", takes="Reason")
def decline(uid: str) -> ResponseReturnValue:
    """Decline it: the patient is told."""
    why = text_of(body_if_any(), "reason", required=False)[:300]
    with transaction():
        one = appointments.get_by_uid(_clinic().id, uid)
        appointments.decline(one, why=why, actor=principal().actor)
        answer = appointment_to_json(one)
    queue.enqueue(queue.OUTBOX)
    return jsonify(answer)


@contract("Appointment", takes="Cancellation")
def cancel(uid: str) -> ResponseReturnValue:
    """Cancel it: the patient is told."""
    given = body_if_any()
    why, by = text_of(given, "reason", required=False)[:300], given.get("by") or policies.CLINIC
    if by not in (policies.CLINIC, policies.PATIENT):
        raise Refused("by must be clinic or patient.", code="invalid_fields", fields={"by": "clinic or patient."})
    with transaction():
        one = appointments.get_by_uid(_clinic().id, uid)
        appointments.cancel(one, why=why, by=by, actor=principal().actor, user_id=principal().user_id)
        answer = appointment_to_json(one)
    queue.enqueue(queue.OUTBOX)
    queue.enqueue(queue.REQUESTS)
    queue.enqueue(queue.WITHDRAW)
    return jsonify(answer)


@contract("Appointment", takes="NewTime")
def reschedule(uid: str) -> ResponseReturnValue:
    """Move it to another time of the same clinician: its money stays on it, the patient is told."""
    fields = Fields(body())
    starts_at = fields.read("startsAt", appointments.read_start, clock.now())
    fields.refuse_wrong("The new time is missing.")
    with transaction():
        one = appointments.get_by_uid(_clinic().id, uid)
        appointments.reschedule(one, starts_at, actor=principal().actor)
        answer = appointment_to_json(one)
    queue.enqueue(queue.OUTBOX)
    return jsonify(answer)


@contract("Appointment")
def start(uid: str) -> ResponseReturnValue:
    """The patient is with the clinician."""
    with transaction():
        one = appointments.get_by_uid(_clinic().id, uid)
        appointments.start(one, actor=principal().actor)
        answer = appointment_to_json(one)
    return jsonify(answer)


@contract("Appointment")
def complete(uid: str) -> ResponseReturnValue:
    """It took place."""
    with transaction():
        one = appointments.get_by_uid(_clinic().id, uid)
        appointments.complete(one, actor=principal().actor)
        answer = appointment_to_json(one)
    return jsonify(answer)


@contract("Appointment")
def no_show(uid: str) -> ResponseReturnValue:
    """The patient did not come."""
    with transaction():
        one = appointments.get_by_uid(_clinic().id, uid)
        appointments.no_show(one, actor=principal().actor, user_id=principal().user_id)
        answer = appointment_to_json(one)
    queue.enqueue(queue.OUTBOX)
    queue.enqueue(queue.REQUESTS)
    return jsonify(answer)


@contract(page_of("Invoice"), query=("cursor",))
def invoice_list() -> ResponseReturnValue:
    """Invoices, newest first."""
    mine = select(Invoice).where(Invoice.tenant_id == _clinic().id)
    if (before_id := read_cursor()) is not None:
        mine = mine.where(Invoice.id < before_id)
    found = list(db.session.scalars(mine.order_by(Invoice.id.desc()).limit(PAGE_ROWS)))
    return jsonify(items=[invoice_to_json(one) for one in found], nextCursor=_next(found))


@contract("Invoice", takes="NewInvoice", answers=(201,))
def issue() -> ResponseReturnValue:
    """Issue an invoice, perhaps as that of an approved appointment."""
    given = body()
    asking = principal()
    if not isinstance(given.get("payer") or {}, dict):
        raise Refused(
            "payer must be an object.",
            code="invalid_fields",
            fields={"payer": "Must be an object with name and phone."},
        )
    with transaction():
        tenant = _clinic()
        patient = people.patient(tenant.id, given["patientId"]) if given.get("patientId") else None
        one = invoices.issue(
            tenant,
            lines=given.get("lines") or [],
            patient=patient,
            payer=given.get("payer"),
            actor=asking.actor,
        )
        if appointment_uid := given.get("appointmentId"):
            _attach(tenant, str(appointment_uid), one)
        answer = invoice_to_json(one)
    return jsonify(answer), 201


def _attach(tenant: Tenant, appointment_uid: str, one: Invoice) -> None:
    """Make this the invoice of an approved appointment that has none; paying it confirms the appointment."""
    found = appointments.get_by_uid(tenant.id, appointment_uid)
    if found.invoice_id is not None:
        raise Refused(
            f"This appointment has invoice {found.invoice_number} already.",
            code="has_invoice",
            fields={"appointmentId": "Has one."},
        )
    if found.status != "approved":
        raise Refused("Approve the appointment first.", code="not_approved", fields={"appointmentId": "Not approved."})
    found.invoice_id = one.id
    db.session.flush()


@contract("Invoice")
def invoice(number: str) -> ResponseReturnValue:
    """One invoice by its number."""
    return jsonify(invoice_to_json(invoices.by_number(_clinic().id, number)))
