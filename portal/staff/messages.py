"""What patients are sent: whom nothing reached, what became of each message and its cost, and the clinic's words."""

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from portal.clinic import appointments, messages, notifications
from portal.clinic.messages import Sent
from portal.clinic.states import SentState
from portal.kernel import queue
from portal.kernel.errors import Refused, Sentence
from portal.kernel.translations import render
from portal.notifications import wording
from portal.staff import buttons, reasons
from portal.staff.guard import actor, needs
from portal.users import permissions
from portal.users.permissions import MANAGE_CLINIC, SEE_CLINIC, WORK_CLINIC
from portal.web.language import said
from portal.web.links import public_url

CHANNELS = {"sms": _l("SMS"), "email": _l("E-mail")}
LANGUAGES = {"en": "English", "sw": "Kiswahili"}
STATES = {
    "waiting": (_l("Waiting"), "attention"), "sent": (_l("Sent"), "plain"), "delivered": (_l("Delivered"), "success"),
    "failed": (_l("Not reached"), "danger"), "settled": (_l("Told another way"), "plain"),
    "skipped": (_l("Not sent"), "plain"),
}  # fmt: skip
SAMPLE_DAY = "21/11/2026"


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/messages", "messages", overview)
    bp.add_url_rule("/unreached/<int:item_id>/again", "message_again", again, methods=["POST"])
    bp.add_url_rule("/unreached/<int:item_id>/settled", "message_settled", settled, methods=["POST"])
    bp.add_url_rule("/messages/words", "words", list_words)
    bp.add_url_rule("/messages/words/of", "words_of", edit)
    bp.add_url_rule("/messages/words/of", "words_set", save, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/messages", "visit_messages", of_visit)


def _row(one: Sent) -> dict[str, Any]:
    label, look = STATES[one.state]
    event = notifications.EVENTS.get(one.what)
    may_work = one.state == SentState.FAILED and permissions.allows(g.role, WORK_CLINIC)
    return {
        "at": one.at,
        "channel": CHANNELS.get(one.channel, one.channel),
        "what": said(event.title) if event else _("Message"),
        "to": one.to,
        "tel": "+254" + one.to.replace(" ", "")[1:] if one.channel == "sms" and one.to.startswith("0") else "",
        "text": one.text,
        "state": label,
        "look": look,
        "why": reasons.reason(one.why) if one.why and one.state in (SentState.FAILED, SentState.SKIPPED) else "",
        "cost_cents": one.cost_cents,
        "patient": one.patient,
        "visit_at": one.visit.starts_at if one.visit else None,
        "visit_url": url_for("staff.visit_messages", uid=one.visit.uid) if one.visit else None,
        "again_url": url_for("staff.message_again", item_id=one.id) if may_work else None,
        "settled_url": url_for("staff.message_settled", item_id=one.id) if may_work else None,
    }


@needs(SEE_CLINIC, looks_at="messages")
def overview() -> ResponseReturnValue:
    """Whom nothing reached: to be called, or sent to again."""
    return render_template(
        "staff/messages.html",
        rows=[_row(one) for one in messages.not_reached(g.tenant.id)],
        words_url=url_for("staff.words") if permissions.allows(g.role, MANAGE_CLINIC) else None,
    )


@needs(SEE_CLINIC, looks_at="messages")
def of_visit(uid: str) -> ResponseReturnValue:
    """All messages about one visit, with delivery and cost."""
    visit = appointments.get_by_uid(g.tenant.id, uid)
    sent = messages.of_visit(visit)
    return render_template(
        "staff/visit_messages.html",
        visit=visit,
        rows=[_row(one) for one in sent],
        cost_cents=messages.cost_of(sent),
        back_url=url_for("staff.appointments"),
    )


@needs(WORK_CLINIC)
def again(item_id: int) -> ResponseReturnValue:
    """Send it again, by the same or the other way."""
    channel = request.form.get("channel", "")

    def work() -> str:
        messages.send_again(g.tenant.id, item_id, channel=channel, actor=actor())
        return _("It is being sent again.")

    return buttons.do(work, then=url_for("staff.messages"), ring=queue.OUTBOX)


@needs(WORK_CLINIC)
def settled(item_id: int) -> ResponseReturnValue:
    """They know: somebody called."""

    def work() -> str:
        messages.settle(g.tenant.id, item_id, actor=actor())
        return _("Written down: they have been told.")

    return buttons.do(work, then=url_for("staff.messages"))


@needs(MANAGE_CLINIC)
def list_words() -> ResponseReturnValue:
    """Every message that patients get, and whose words it is in."""
    own = {(one.event, one.channel, one.locale) for one in wording.all_of(g.tenant.id)}
    rows = [
        {
            "title": said(event.title),
            "text": wording.in_braces(event.text, g.tenant.locale),
            "ways": [
                {
                    "label": f"{label}, {language}",
                    "is_own": (name, channel, locale) in own,
                    "url": Which(name, channel, locale).url("staff.words_of"),
                }
                for channel, label in CHANNELS.items()
                for locale, language in LANGUAGES.items()
            ],
        }
        for name, event in notifications.EVENTS.items()
    ]
    return render_template("staff/words.html", rows=rows, back_url=url_for("staff.messages"))


@dataclass(frozen=True)
class Which:
    """One message in one language, by one way."""

    event: str
    channel: str
    locale: str

    @property
    def what(self) -> notifications.Event:
        return notifications.EVENTS[self.event]

    def url(self, endpoint: str) -> str:
        return url_for(endpoint, event=self.event, channel=self.channel, locale=self.locale)


def _which() -> Which | None:
    """What the address names; None where there is no such message."""
    one = Which(*(request.args.get(name, "") for name in ("event", "channel", "locale")))
    is_known = one.event in notifications.EVENTS and one.channel in wording.CHANNELS and one.locale in wording.LOCALES
    return one if is_known else None


@needs(MANAGE_CLINIC)
def edit() -> ResponseReturnValue:
    """The words of one message, and what they look like with a visit filled in."""
    if (which := _which()) is None:
        return redirect(url_for("staff.words"), 303)
    own = wording.of(g.tenant.id, which.event, which.channel, which.locale)
    subject = (own.subject if own else "") or render(which.what.subject, which.locale)
    return _page(which, subject=subject, text=own.text if own else wording.in_braces(which.what.text, which.locale))


def _page(which: Which, *, subject: str, text: str, error: Refused | None = None) -> ResponseReturnValue:
    values = _sample()
    shown = wording.filled(text, values, which.locale)
    own = wording.of(g.tenant.id, which.event, which.channel, which.locale)
    page = render_template(
        "staff/words_form.html",
        title=said(which.what.title),
        way=f"{CHANNELS[which.channel]}, {LANGUAGES[which.locale]}",
        is_email=which.channel == "email",
        is_own=own is not None,
        subject=subject,
        text=text,
        names=sorted(notifications.names_of(which.event)),
        needed=sorted(which.what.needed),
        preview=shown,
        preview_subject=wording.filled(subject, values, which.locale),
        parts=wording.parts_of(shown),
        letters=len(shown),
        errors={name: said(sentence) for name, sentence in error.fields.items()} if error is not None else {},
        save_url=which.url("staff.words_set"),
        back_url=url_for("staff.words"),
    )
    return page, error.status if error is not None else 200


def _sample() -> dict[str, object]:
    """Values of a visit that nobody has, to see the words with."""
    tenant = g.tenant
    return {
        "clinic": tenant.name, "when": f"{SAMPLE_DAY} 09:30", "date": SAMPLE_DAY, "time": "09:30",
        "where": tenant.address or tenant.name, "phone": tenant.help_phone, "amount": "KES 1,500",
        "url": f"{public_url()}/pay/{'5f0c' * 10}", "receipt": "SKL1ABCD23", "by_hand": "",
        "reply": Sentence("Reply 1 to confirm, 2 to cancel."), "why": Sentence("Wrong M-Pesa PIN."), "money": "",
    }  # fmt: skip


@needs(MANAGE_CLINIC)
def save() -> ResponseReturnValue:
    """Look at the words, keep them, or go back to the product's own."""
    if (which := _which()) is None:
        return redirect(url_for("staff.words"), 303)
    text = request.form.get("text", "").replace("\r\n", "\n").replace("\0", "").strip()
    subject = request.form.get("subject", "").replace("\0", "").strip() if which.channel == "email" else ""
    do = request.form.get("do", "save")
    if do == "drop":

        def drop() -> str:
            wording.drop(g.tenant.id, which.event, which.channel, which.locale)
            return _("These are our own words again.")

        return buttons.do(drop, then=url_for("staff.words"))
    try:
        known = notifications.names_of(which.event)
        shown = wording.filled(text, _sample(), which.locale)
        wording.check(which.channel, subject, text, known=known, needed=which.what.needed, shown=shown)
    except Refused as error:
        return _page(which, subject=subject, text=text, error=error)
    if do == "look":
        return _page(which, subject=subject, text=text)

    def keep() -> str:
        wording.keep(g.tenant.id, which.event, which.channel, which.locale, subject=subject, text=text)
        return _("Saved. It is said so from now on.")

    return buttons.do(keep, then=url_for("staff.words"))
