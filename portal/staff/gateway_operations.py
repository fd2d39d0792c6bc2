"""What stands under a gateway's settings: its addresses, its balance, its initiator, M-Pesa's list."""

from typing import Any

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.gateways import c2b_registration, initiator, settings
from portal.gateways.models import Gateway
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments import daraja_requests
from portal.payments.c2b import pull as pulling
from portal.payments.inbox import inbox
from portal.staff import buttons, reasons
from portal.staff.guard import actor, needs
from portal.users.permissions import MANAGE_GATEWAYS
from portal.web import links


def register_routes(bp: Blueprint) -> None:
    for name, view in (
        ("register", register_gateway),
        ("rotate", rotate),
        ("balance", balance),
        ("release", release),
        ("register-pull", register_pull),
        ("pull", pull),
    ):
        endpoint = f"gateway_{name.replace('-', '_')}"
        bp.add_url_rule(f"/gateways/<uid>/{name}", endpoint, view, methods=["POST"])
    bp.add_url_rule("/gateways/<uid>/balance", "gateway_balance_shown", balance_shown)


def operations_of(one: Gateway) -> dict[str, Any]:
    """What the page shows and offers for a gateway with API."""
    ours = c2b_registration.addresses_of(one, public_url=links.public_url())
    return {
        "hooks": [
            {"label": _("Confirmation"), "url": ours.confirmation},
            {"label": _("Validation"), "url": ours.validation},
        ],
        "takes_by_hand": one.sub_kind != "BANK",
        "registered_at": one.urls_registered_at,
        "versions": c2b_registration.VERSIONS,
        "response_types": [
            (c2b_registration.RESPONSE_TYPES[0], _("takes the payment")),
            (c2b_registration.RESPONSE_TYPES[1], _("refuses the payment")),
        ],
        "halted_at": one.initiator_halted_at,
        "halted_why": reasons.reason(one.initiator_halted_why),
        "can_ask": initiator.can_ask(one),
        "is_asking": daraja_requests.is_asking_balance(one),
        "balances": one.balances or [],
        "balances_at": one.balances_at,
        "pull_registered_at": one.pull_registered_at,
        "pulled_until": one.pulled_until,
        "urls": {
            name: url_for(f"staff.gateway_{name}", uid=one.uid)
            for name in ("register", "rotate", "balance", "balance_shown", "release", "register_pull", "pull")
        },
    }


@needs(MANAGE_GATEWAYS)
def register_gateway(uid: str) -> ResponseReturnValue:
    """Give Safaricom our addresses for payments by hand."""
    version, response_type = request.form.get("version", "v2"), request.form.get("response_type", "Completed")

    def work() -> str:
        c2b_registration.register_urls(
            g.tenant.id,
            uid,
            actor=actor(),
            public_url=links.public_url(),
            version=version,
            response_type=response_type,
        )
        return _("Safaricom reports payments by hand to us now.")

    return buttons.do_outside(work, then=url_for("staff.gateway", uid=uid))


@needs(MANAGE_GATEWAYS)
def rotate(uid: str) -> ResponseReturnValue:
    """New secret addresses."""

    def work() -> str:
        with transaction():
            settings.rotate_hooks(settings.get_by_uid(g.tenant.id, uid), actor=actor())
        inbox.forget_doors()
        return _("The addresses are new. Those before work until the next change: register the new ones now.")

    return buttons.do_outside(work, then=url_for("staff.gateway", uid=uid))


@needs(MANAGE_GATEWAYS)
def balance(uid: str) -> ResponseReturnValue:
    """Ask for the balance; the answer follows."""

    def work() -> str:
        daraja_requests.ask_balance(settings.get_by_uid(g.tenant.id, uid), actor=actor())
        return _("M-Pesa is asked.")

    return buttons.do(work, then=url_for("staff.gateway", uid=uid), ring=queue.REQUESTS)


@needs(MANAGE_GATEWAYS)
def balance_shown(uid: str) -> ResponseReturnValue:
    """The balance's own part of the page, which asks for itself while M-Pesa is asked."""
    operations = operations_of(settings.require_api(settings.get_by_uid(g.tenant.id, uid)))
    return render_template("staff/_gateway_balance.html", operations=operations)


@needs(MANAGE_GATEWAYS)
def release(uid: str) -> ResponseReturnValue:
    """Somebody has looked: the initiator is used again."""

    def work() -> str:
        initiator.release_halted(settings.get_by_uid(g.tenant.id, uid), actor=actor())
        return _("The initiator is used again.")

    return buttons.do(work, then=url_for("staff.gateway", uid=uid), ring=queue.REQUESTS)


@needs(MANAGE_GATEWAYS)
def register_pull(uid: str) -> ResponseReturnValue:
    """Register for M-Pesa's list of payments."""

    def work() -> str:
        msisdn = normalise_msisdn(request.form.get("phone", ""))
        gateway_id = settings.get_by_uid(g.tenant.id, uid).id
        pulling.register(gateway_id, msisdn, actor=actor(), public_url=links.public_url())
        return _("M-Pesa's list is read every 15 minutes now.")

    return buttons.do_outside(work, then=url_for("staff.gateway", uid=uid))


@needs(MANAGE_GATEWAYS)
def pull(uid: str) -> ResponseReturnValue:
    """Read M-Pesa's list now."""

    def work() -> str:
        brought = pulling.pull_now(settings.get_by_uid(g.tenant.id, uid).id, actor=actor())
        if brought.failed:
            raise Refused(
                _(
                    "%(number)s payments could not be taken in yet. They are tried again.",
                    number=brought.failed,
                )
            )
        return _("M-Pesa lists %(rows)s payments; %(new)s were not known here.", rows=brought.rows, new=brought.new)

    return buttons.do_outside(work, then=url_for("staff.gateway", uid=uid))
