"""One payment as a payer sees it: the words, the steps, the money, what it bought, and how often to look again."""

import time
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, g, url_for
from flask_babel import gettext as _
from sqlalchemy import bindparam, select

from portal.fulfilment import Bought, bought, receipts_of
from portal.hotspot import access, proof, purchases
from portal.hotspot.routers import connection
from portal.hotspot.routers.opennds import fas
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.money import format_kes
from portal.kernel.phone import for_screens
from portal.payments import status
from portal.payments.models import Payment, Push, Transaction
from portal.payments.refunds import refunds
from portal.payments.states import REFUND_UNDER_WAY, PaymentState, RefundState
from portal.payments.stk.push_states import State
from portal.web.language import said
from portal.web.links import door_url

ASK_EVERY_S = 5
MOST_REMEMBERED = 10_000
_looked_at: dict[int, float] = {}
_VERSION = select(Payment.id, Payment.version, Payment.pushed_at).where(Payment.token == bindparam("token"))
RESEND_HINT_AFTER_S, BY_HAND_AFTER_S = 20, 40  # no prompt: what the phone can do, then M-Pesa's own menu
OPENS_IN_S = 5  # time to read the code before the router takes the page away
OPENS_WITHIN = timedelta(minutes=3)  # of its opening; who comes back later presses the button
CONNECTING_EVERY_S = 2
PROMISED_EVERY_S = 10  # a page that says how to pay by hand promises to show the payment when it has arrived


def payment_view(payment: Payment) -> dict[str, Any]:
    """Everything the payer's templates need of a payment. Reads, never writes."""
    stands = status.standing(payment)
    money = receipts_of(payment)
    phase = status.phase(payment.pushed_at)
    given = bought(payment)
    msisdn = _phone(payment, stands.push)
    by_hand = _by_hand(payment)
    is_promised = by_hand is not None and stands.word in ("ready", "not_paid")
    is_paid = stands.status in ("paid", "partially_refunded") or stands.is_open_unverified
    shown = _bought(payment, given, is_paid=is_paid)
    return {
        "page_title": f"{said(stands.headline)} · {payment.tenant.name}",
        "token": payment.token,
        "poll_url": url_for(
            "pay.poll",
            token=payment.token,
            v="connecting"  # not the payment's row tells of it: each poll looks anew
            if shown is not None and shown.get("is_connecting")
            else _shown_as(payment.version, payment.pushed_at),
        ),
        "retry_url": url_for("pay.push", token=payment.token),
        "word": stands.word,
        "headline": said(stands.headline),
        "sentence": said(stands.sentence),
        "next_step": said(stands.next_step),
        "amount_cents": payment.amount_cents,
        "due_cents": payment.due_cents,
        "deposit_due_cents": payment.deposit_due_cents,
        "paid_cents": payment.allocated_cents,
        "receipts": [one.receipt for one in money if one.receipt],
        "phone_shown": for_screens(msisdn) if msisdn else "",
        "business": _business(payment),
        "test_mode": payment.is_sandbox,
        "steps": _steps(stands, given.kind),
        "poll_after_s": _poll_after_s(stands, phase, is_promised=is_promised, given=shown),
        "is_settling": stands.is_settling,
        "version": payment.version,
        "can_retry": stands.can_retry,
        "retry_in_s": stands.retry_in_s,
        "resend_hint": _is_waiting_long(payment, stands, RESEND_HINT_AFTER_S),
        "hand_hint": _is_waiting_long(payment, stands, BY_HAND_AFTER_S),
        "surplus_cents": _surplus(payment),
        "refunds": _refunds(payment),
        "bought": shown,
        "receipt_url": url_for("pay.receipt", token=payment.token) if payment.state == PaymentState.PAID else None,
        "by_hand": by_hand,
    }


def _poll_after_s(
    stands: status.Standing, phase: int, *, is_promised: bool, given: dict[str, Any] | None
) -> int | None:
    """Seconds until the page asks again; None once nothing changes by itself."""
    if stands.is_settling:
        return status.poll_after_s(phase)
    if given is not None and given.get("is_connecting"):
        return CONNECTING_EVERY_S
    return PROMISED_EVERY_S if is_promised else None


def _phone(payment: Payment, push: Push | None) -> str | None:
    sealed = push.phone_sealed if push else payment.phone_sealed
    return personal.open_phone(sealed, payment.tenant_id)


def _business(payment: Payment) -> str:
    return payment.gateway.shown_name if payment.gateway else payment.tenant.name


def _steps(stands: status.Standing, kind: str) -> list[dict[str, str]]:
    if stands.word not in ("waiting", "preparing"):
        return []
    last = {"access": _("Opening the internet"), "appointment": _("Confirming the appointment")}.get(kind, _("Receipt"))
    is_rung = stands.push is not None and stands.push.state == State.AWAITING_PIN
    at = 2 if stands.word == "preparing" else 1 if is_rung else 0
    labels = [_("Request sent") if at else _("Sending the request"), _("Enter your M-Pesa PIN"), last]
    return [
        {"label": label, "state": "done" if index < at else "now" if index == at else "todo"}
        for index, label in enumerate(labels)
    ]


def _is_waiting_long(payment: Payment, stands: status.Standing, seconds: int) -> bool:
    return stands.word == "waiting" and payment.pushed_at is not None and _age_s(payment.pushed_at) >= seconds


def _age_s(pushed_at: datetime) -> float:
    return (clock.now() - pushed_at).total_seconds()


def _shown_as(version: int, pushed_at: datetime | None) -> str:
    """What a poll carries: it is answered once more when a hint is due, and when the page is to ask less often."""
    hints = sum(_age_s(pushed_at) >= after for after in (RESEND_HINT_AFTER_S, BY_HAND_AFTER_S)) if pushed_at else 0
    return f"{version}-{hints}-{status.phase(pushed_at)}"


def _surplus(payment: Payment) -> int:
    """Cents that arrived for this payment beyond what was due, and wait for staff to place or return."""
    own = select(Transaction.unallocated_cents).join(Push, Transaction.push_id == Push.id)
    extra = db.session.scalars(own.where(Push.payment_id == payment.id, Transaction.unallocated_cents > 0)).all()
    by_hand = [money.unallocated_cents for money in receipts_of(payment) if money.push_id is None]
    return sum(extra) + sum(by_hand)


def _refunds(payment: Payment) -> list[str]:
    """A sentence for each refund that was sent, or is surely on its way; none of those that nobody approved yet."""
    said = []
    for one in refunds.of_payment(payment.id):
        amount = format_kes(one.amount_cents)
        if one.state == RefundState.DONE and one.receipt:
            said.append(_("%(amount)s was sent back, receipt %(receipt)s.", amount=amount, receipt=one.receipt))
        elif one.state == RefundState.DONE:
            said.append(_("%(amount)s was sent back.", amount=amount))
        elif one.state in REFUND_UNDER_WAY and one.state != RefundState.REQUESTED:
            said.append(_("%(amount)s is on its way back to you.", amount=amount))
    return said


def _by_hand(payment: Payment) -> dict[str, Any] | None:
    gateway = payment.gateway
    if gateway is None or payment.state != PaymentState.OPEN or gateway.sub_kind == "BANK":
        return None
    is_till = gateway.sub_kind == "BUYGOODS"
    return {
        "method": "till" if is_till else "paybill",
        "number": gateway.shortcode,
        "account": "" if is_till else payment.reference,
        "amount_cents": payment.due_cents,
    }


def _bought(payment: Payment, given: Bought, *, is_paid: bool) -> dict[str, Any] | None:
    if given.kind == "access" and given.grant is not None and given.grant.origin == "gift" and is_paid:
        return {"kind": "gift"}  # its way in is sent to whom it is given, and to nobody else
    if given.kind == "access" and given.grant is not None and is_paid:
        return _access(given)
    is_there = payment.state == PaymentState.PAID or (payment.enough_cents and not payment.deposit_due_cents)
    if given.kind == "appointment" and given.appointment is not None and is_there:
        appointment = given.appointment
        is_confirmed = appointment.status == "confirmed"
        return {
            "kind": "appointment",
            "is_virtual": appointment.kind == "virtual",
            "starts_at": appointment.starts_at,
            "clinician": appointment.clinician.name,
            "place": appointment.place,
            "join_url": door_url(appointment),
            "calendar_url": url_for("pay.calendar", token=payment.token) if is_confirmed else None,
        }
    return {"kind": given.kind} if given.kind in ("invoice", "order") else None


def _access(given: Bought) -> dict[str, Any]:
    grant, purchase = given.grant, given.purchase
    assert grant is not None and purchase is not None  # noqa: S101 - the caller looked
    password = grant.password
    login = go_url = None
    if purchase.login_url and grant.is_open and grant.has_begun:
        go_url = url_for("hotspot.go", slug=purchase.payment.tenant.slug, token=purchase.payment.token)
        g.posts_to_router = True
        login = {
            "url": purchase.login_url,
            "method": login_method(purchase),
            "fields": login_fields(grant.username, password, purchase, tenant_id=purchase.tenant_id),
        }
    connects = connection.stands(grant)
    is_new = clock.now() - grant.created_at < OPENS_WITHIN
    is_connecting = is_new and grant.has_begun and connects.state in (connection.PAID, connection.TOLD_IT)
    return {
        "kind": "access",
        "username": grant.username,
        "password": password,
        "begins_at": None if grant.has_begun else grant.starts_at,
        "expires_at": grant.expires_at,
        "seconds_left": int((grant.expires_at - clock.now()).total_seconds()) if grant.is_open else 0,
        "login": login,
        "go_url": go_url,
        "is_by_address": login is not None and _is_mixed(purchase.login_url),
        "is_online": connects.is_online,
        "is_connecting": is_connecting,
        "proof": proof.of_grant(purchase.payment, grant, connects),
        "opens_in_s": OPENS_IN_S if login and is_new and not connects.is_online and not is_connecting else None,
    }


def _is_mixed(login_url: str) -> bool:
    """Whether a form would go from https to a router without: browsers hold that up with a whole page of warning."""
    return current_app.config["PORTAL"].public_url.startswith("https:") and urlsplit(login_url).scheme == "http"


def login_method(device: Any) -> str:
    """How the router's login form is sent: openNDS reads addresses alone."""
    return "get" if device.chap_id == fas.CHALLENGE else "post"


def login_fields(username: str, password: str, purchase: Any, *, tenant_id: int) -> dict[str, str]:
    """The fields of the router's login form; the password hashed where the router asked for CHAP.

    An openNDS gateway takes neither, but the answer to its own challenge, by an address (GET).
    """
    if purchase.chap_id == fas.CHALLENGE:
        site = purchases.site_told(tenant_id, identity=purchase.nas_identity, login_url=purchase.login_url)
        return fas.login_fields(purchase.chap_challenge, site.secret if site else "", purchase.wanted_url)
    if purchase.chap_id and purchase.chap_challenge:
        password = access.chap_response(password, chap_id=purchase.chap_id, chap_challenge=purchase.chap_challenge)
    fields = {"username": username, "password": password}
    return fields | ({"dst": purchase.wanted_url} if purchase.wanted_url else {})


def version_of(token: str) -> tuple[int, str] | None:
    """(payment id, what a poll should carry) by one select; None where there is no such payment."""
    with db.engine.connect() as connection:
        row = connection.execute(_VERSION, {"token": token}).one_or_none()
    return (row.id, _shown_as(row.version, row.pushed_at)) if row else None


def is_time_to_look(payment_id: int) -> bool:
    """Whether this process should look again at this payment's push: at most every five seconds.

    A process's own memory is enough: whether M-Pesa is really asked is decided by the row (`queries.ask_now`).
    """
    now = time.monotonic()
    if _looked_at.get(payment_id, 0.0) > now - ASK_EVERY_S:
        return False
    if len(_looked_at) > MOST_REMEMBERED:
        _looked_at.clear()
    _looked_at[payment_id] = now
    return True
