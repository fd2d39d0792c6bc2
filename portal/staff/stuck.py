"""What is stuck: given up, or waited for without end. Everybody sees it; an administrator sets it going again."""

from collections.abc import Callable

from flask import Blueprint, g, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from portal.kernel import queue
from portal.payments import stuck
from portal.staff import buttons, reasons
from portal.staff.guard import actor, needs
from portal.users import permissions
from portal.users.permissions import MANAGE_GATEWAYS, SEE_MONEY

HEADINGS = {
    "callback": (
        _l("Words of M-Pesa"),
        _l("Look the payment up in M-Pesa's portal first. What is replayed is believed, wherever it came from."),
    ),
    "message": (_l("Messages that were not delivered"), _l("Mend the cause, or tell the person yourself.")),
    "delivery": (
        _l("Paid and not given out"),
        _l("It is tried again by itself. If it stays here, give the payer what was paid, or the money back."),
    ),
    "prompt": (
        _l("Requests without an outcome"),
        _l("M-Pesa is asked no more. Look the payer up in M-Pesa's portal, or bring its statement under Reports."),
    ),
}
CALLBACKS = {
    "stk": _l("Answer to a request"), "c2b": _l("Payment by hand"), "claim": _l("Payment by hand"),
    "result": _l("Answer to a question"), "timeout": _l("Answer to a question"), "webhook": _l("Webhook"),
    "email": _l("Mail"), "sms": _l("SMS"),
}  # fmt: skip


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/stuck", "stuck", list_stuck)
    bp.add_url_rule("/stuck/callbacks/<int:item_id>", "stuck_replay", replay, methods=["POST"])
    bp.add_url_rule("/stuck/messages/<int:item_id>", "stuck_send", send, methods=["POST"])


@needs(SEE_MONEY)
def list_stuck() -> ResponseReturnValue:
    """What is stuck, by kind, with what to do about it."""
    may_act = permissions.allows(g.role, MANAGE_GATEWAYS)
    doors = {"callback": "staff.stuck_replay", "message": "staff.stuck_send"} if may_act else {}
    found, counts = stuck.of_tenant(g.tenant.id), stuck.counts(g.tenant.id)
    groups = [
        {
            "kind": kind,
            "heading": heading,
            "what_to_do": what_to_do,
            "count": counts[kind],
            "items": [
                {
                    "at": one.at,
                    "about": CALLBACKS.get(one.about, one.about),
                    "why": reasons.reason(one.why),
                    "url": url_for("staff.attempt", token=one.payment_token) if one.payment_token else None,
                    "action_url": url_for(doors[kind], item_id=one.id) if kind in doors else None,
                }
                for one in found
                if one.kind == kind
            ],
        }
        for kind, (heading, what_to_do) in HEADINGS.items()
    ]
    return render_template("staff/stuck.html", groups=[group for group in groups if group["count"]])


@needs(MANAGE_GATEWAYS)
def replay(item_id: int) -> ResponseReturnValue:
    """Settle a word of M-Pesa's again."""
    return _set_going(stuck.replay_callback, item_id, queue.DRAIN)


@needs(MANAGE_GATEWAYS)
def send(item_id: int) -> ResponseReturnValue:
    """Send a message again."""
    return _set_going(stuck.send_message_again, item_id, queue.OUTBOX)


def _set_going(set_going: Callable[..., None], item_id: int, job: queue.Job) -> ResponseReturnValue:
    def work() -> str:
        set_going(g.tenant.id, item_id, actor=actor())
        return _("It is being tried again. Load this page in a moment.")

    return buttons.do(work, then=url_for("staff.stuck"), ring=job)
