"""Answers by SMS: 1 comes, 2 cancels, STOP wants no more reminders. A job; it commits.

Which visit somebody answers about is found by the number that was reminded (`VisitQuestion`). 1 is for all visits that
the number was asked about; 2 is for one alone: with several ahead the answer asks for a call, since the wrong one must
not go. Where it is too late to cancel freely nothing is cancelled, and the desk learns that nobody will come.
What is neither goes to the desk: a person asked something.
Decided: 1 and 2 stand alone, or beside a courtesy. "No problem, I will be there" cancels nothing: a person reads it.
Decided: an answer of ours goes to a number once a day for each visit, whatever it sends: two machines that answer each
other, or somebody who sends 1 all day, cost the clinic one message.
"""

import json
from datetime import timedelta

from sqlalchemy import select, tuple_, update

from portal.clinic import appointments, notifications
from portal.clinic.models import Appointment, Patient, VisitQuestion
from portal.kernel import clock, personal, phone, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.notifications import quiet, tell
from portal.notifications.incoming import NOBODYS
from portal.notifications.models import REPLY_DUE, IncomingSms
from portal.payments.models import Customer
from portal.tenants.models import Tenant

YES, NO = {"1", "yes", "y", "ndiyo", "ndio", "ok"}, {"2", "no", "hapana"}
COURTESIES = {"please", "thanks", "thank", "you", "sorry", "tafadhali", "asante", "sana", "samahani", "pole"}
STOP, START = {"stop", "stopall", "unsubscribe", "acha"}, {"start", "anza"}
ANSWER_IS_NEWS_FOR, ASK_AGAIN, GIVE_UP_AFTER = timedelta(hours=1), timedelta(minutes=1), timedelta(hours=1)
TENANTS_AT_ONCE = 500


def answer() -> None:
    """Deal with every message that waits, one by one: one at fault stops no other."""
    while not queue.is_leaving() and (message_id := _next()) is not None:
        try:
            with transaction():
                _answer(message_id)
        except Exception as error:
            logger.error("sms_not_answered", message=message_id, error=repr(error)[:300])
            with transaction():
                db.session.execute(
                    update(IncomingSms).where(IncomingSms.id == message_id).values(look_at=_later(message_id))
                )
    queue.enqueue(queue.OUTBOX)
    queue.enqueue(queue.WITHDRAW)


def _next() -> int | None:
    found = db.session.scalar(select(IncomingSms.id).where(REPLY_DUE.is_due).order_by(IncomingSms.look_at).limit(1))
    db.session.rollback()
    return found


def _later(message_id: int) -> object:
    came = db.session.scalar(select(IncomingSms.created_at).where(IncomingSms.id == message_id))
    is_old = came is None or clock.now() - came > GIVE_UP_AFTER
    return None if is_old else clock.now() + ASK_AGAIN


def _answer(message_id: int) -> None:
    locked = select(IncomingSms).where(IncomingSms.id == message_id).with_for_update()
    message = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if message.look_at is None:
        return
    said = json.loads(personal.open_text(message.body_sealed, NOBODYS) or "{}")
    msisdn, words = said["from"], [one.strip(".,!\"'").casefold() for one in said["text"].split()]
    word = words[0] if words else ""
    if word in STOP | START:
        outcome = _hush(msisdn, is_quiet=word in STOP)
    else:
        asked = _asked(msisdn)
        message.tenant_id = asked[0].tenant_id if asked else None
        is_plain = set(words[1:]) <= COURTESIES | {""}
        outcome = _reply(asked, message, msisdn, word if is_plain else "", said["text"]) if asked else "nobody's"
    message.outcome, message.look_at, message.body_sealed = outcome, None, None


def _asked(msisdn: str) -> list[Appointment]:
    """The visits ahead that this number was reminded of, the next one first."""
    open_ones = (
        select(Appointment)
        .join(VisitQuestion, VisitQuestion.appointment_id == Appointment.id)
        .where(VisitQuestion.phone_key == personal.prompt_key("replies", msisdn), VisitQuestion.until > clock.now())
        .where(Appointment.status == "confirmed")
        .order_by(Appointment.starts_at, Appointment.id)
    )
    return list(db.session.scalars(open_ones))


def _reply(asked: list[Appointment], message: IncomingSms, msisdn: str, word: str, text: str) -> str:
    first = asked[0]
    when, clinic = notifications.when(first), first.tenant
    if word in YES:
        for visit in asked:
            visit.attending_at = clock.now()
        _say(first, "comes", msisdn, _("Thank you. %(clinic)s expects you on %(when)s.", clinic=clinic.name, when=when))
        return "comes"
    if word not in NO:
        told = _("SMS from %(phone)s: %(text)s", phone=phone.for_people(msisdn), text=text[:200])
        notifications.tell_desk(clinic, f"sms/{message.id}", told, url="/staff/appointments")
        return "for the desk"
    if len(asked) > 1:
        sentence = _(
            "You have %(count)s visits ahead, so none was cancelled. Please call %(clinic)s %(phone)s.",
            count=len(asked), clinic=clinic.name, phone=clinic.help_phone,
        )  # fmt: skip
        _say(first, "several", msisdn, sentence)
        return "several"
    try:
        with db.session.begin_nested():
            appointments.cancel_by_patient(first)
    except Conflict:
        return _stays_away(first, message, msisdn)
    return "cancelled"


def _stays_away(visit: Appointment, message: IncomingSms, msisdn: str) -> str:
    """Too late to cancel freely: what becomes of the money is for people to say."""
    visit.attending_at = None
    tenant, when = visit.tenant, notifications.when(visit)
    sentence = _(
        "Thank you for telling us. It is too late to cancel by SMS; about your money please call %(clinic)s %(phone)s.",
        clinic=tenant.name, phone=tenant.help_phone,
    )  # fmt: skip
    _say(visit, "stays away", msisdn, sentence)
    told = _("The patient of %(when)s answered that nobody will come. It was too late to cancel by SMS.", when=when)
    notifications.tell_desk(tenant, f"sms/{message.id}", told, url="/staff/appointments")
    return "stays away"


def _say(visit: Appointment, outcome: str, msisdn: str, text: Text) -> None:
    whose = personal.prompt_key("replies", msisdn)[:12]
    key = f"reply/{visit.id}/{outcome}/{whose}/{clock.nairobi(clock.now()).date()}"
    to = notifications.contact_of(visit.patient, visit.tenant)
    tell.by_sms(
        visit.tenant_id, key, msisdn=msisdn, text=text, locale=to.locale,
        expires_at=clock.now() + ANSWER_IS_NEWS_FOR,
    )  # fmt: skip


def _hush(msisdn: str, *, is_quiet: bool) -> str:
    """No more reminders from anybody here who knows this number, or again: one short number speaks for all of them."""
    tenant_ids = list(db.session.scalars(select(Tenant.id).order_by(Tenant.id)))
    for at in range(0, len(tenant_ids), TENANTS_AT_ONCE):
        hashes = {one: personal.phone_hash(msisdn, one) for one in tenant_ids[at : at + TENANTS_AT_ONCE]}
        known: set[int] = set()
        for model in (Patient, Customer):
            mine = select(model.tenant_id).where(tuple_(model.tenant_id, model.phone_hash).in_(list(hashes.items())))
            known |= set(db.session.scalars(mine))
        for tenant_id in sorted(known):
            quiet.set_quiet(tenant_id, hashes[tenant_id], is_quiet=is_quiet)
    return "stopped" if is_quiet else "started"
