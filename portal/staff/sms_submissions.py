"""Messages to check: pasted by payers, held against the till's own phone by whoever stands at it; and what another
system alone said was paid, which is no money before somebody agrees.
"""

from typing import Any

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from portal.audit import chain
from portal.hotspot import unverified
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.payments.models import SmsSubmission, UnverifiedReport
from portal.payments.sms import submissions
from portal.payments.webhook import unverified_reports
from portal.staff import audit_words, buttons
from portal.staff.guard import actor, needs, read_id
from portal.users.permissions import RECORD_MANUAL, SEE_MONEY


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/claims", "claims", list_sms_submissions)
    bp.add_url_rule("/claims/<uid>/accept", "claim_accept", accept, methods=["POST"])
    bp.add_url_rule("/claims/<uid>/refuse", "claim_refuse", refuse, methods=["POST"])
    bp.add_url_rule("/hearsay/<uid>/agree", "hearsay_agree", agree, methods=["POST"])
    bp.add_url_rule("/hearsay/<uid>/refuse", "hearsay_refuse", disagree, methods=["POST"])


@needs(SEE_MONEY)
def list_sms_submissions() -> ResponseReturnValue:
    """What waits to be checked, oldest first. That somebody read the messages is recorded."""
    found = submissions.waiting(g.tenant.id, after_id=read_id("after"))
    next_url = url_for("staff.claims", after=found[-1].id) if len(found) == submissions.SHOWN else None
    items = [_shown(claim) for claim in found]
    if items:
        with transaction():
            chain.record(g.tenant.id, "tenant", g.tenant.id, "looked_at_messages", actor=actor())
    held, held_after = unverified_reports.waiting(g.tenant.id, after_id=read_id("held_after"))
    return render_template(
        "staff/claims.html",
        items=items,
        next_url=next_url,
        held=[_held(one) for one in held],
        held_count=unverified_reports.waiting_count(g.tenant.id),
        next_held_url=url_for("staff.claims", held_after=held_after) if held_after else None,
    )


def _held(one: UnverifiedReport) -> dict[str, Any]:
    return {
        "receipt": one.receipt,
        "amount_cents": one.amount_cents,
        "at": one.occurred_at,
        "payer_shown": one.payer_shown or "–",
        "agree_url": url_for("staff.hearsay_agree", uid=one.uid),
        "refuse_url": url_for("staff.hearsay_refuse", uid=one.uid),
    }


def _shown(claim: SmsSubmission) -> dict[str, Any]:
    text, sms = submissions.message_of(claim)
    return {
        "receipt": claim.receipt,
        "amount_cents": claim.stated_cents,
        "at": claim.created_at,
        "title": audit_words.title_of(claim.payment),
        "due_cents": claim.payment.due_cents,
        "paid_to": sms.paid_to or "–",
        "said_when": f"{sms.date:%d/%m/%Y} {sms.time:%H:%M}" if sms.date and sms.time else "–",
        "text": text,
        "is_odd": sms.kind in ("suspicious", "multiple"),
        "is_open": claim.opened_at is not None,
        "accept_url": url_for("staff.claim_accept", uid=claim.uid),
        "refuse_url": url_for("staff.claim_refuse", uid=claim.uid),
    }


@needs(RECORD_MANUAL)
def accept(uid: str) -> ResponseReturnValue:
    """The money is there: booked, and what it paid is delivered."""

    def work() -> str:
        receipt = submissions.accept(g.tenant.id, uid, user_id=current_user.id, actor=actor()).receipt
        return _("%(receipt)s is accepted.", receipt=receipt)

    return buttons.do(work, then=url_for("staff.claims"), ring=queue.PAID)


@needs(RECORD_MANUAL)
def refuse(uid: str) -> ResponseReturnValue:
    """The money is not there: the offer is closed, and what was opened ends."""

    def work() -> str:
        why = request.form.get("reason", "")
        claim = submissions.refuse(g.tenant.id, uid, why=why, user_id=current_user.id, actor=actor())
        unverified.end_access(claim, actor=actor())
        return _("%(receipt)s is refused.", receipt=claim.receipt)

    return buttons.do(work, then=url_for("staff.claims"))


@needs(RECORD_MANUAL)
def agree(uid: str) -> ResponseReturnValue:
    """Another system was right: the money is booked, on this person's word."""

    def work() -> str:
        receipt = unverified_reports.agree(g.tenant.id, uid, user_id=current_user.id, actor=actor()).receipt
        return _("%(receipt)s is accepted.", receipt=receipt)

    return buttons.do(work, then=url_for("staff.claims"), ring=queue.PAID)


@needs(RECORD_MANUAL)
def disagree(uid: str) -> ResponseReturnValue:
    """Another system was wrong: nothing is booked."""

    def work() -> str:
        why = request.form.get("reason", "")
        held = unverified_reports.refuse(g.tenant.id, uid, why=why, user_id=current_user.id, actor=actor())
        return _("%(receipt)s is refused.", receipt=held.receipt)

    return buttons.do(work, then=url_for("staff.claims"))
