"""The doors behind the stage: faults, clock, phones, organisations, hand-made callbacks, log, statement."""

import sqlite3
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, request, url_for

from portal.kernel import clock
from portal.kernel.errors import NotFound, Refused
from portal.kernel.money import cents, kes
from portal.kernel.phone import normalise_msisdn
from portal.simulator.api import faults
from portal.simulator.api.router import store_of_app
from portal.simulator.api.validation import finite
from portal.simulator.engine import behaviours, callback_sender, callbacks, journal, organisations, receipts, statement
from portal.simulator.engine.customers import START_CENTS, customer, instruct
from portal.simulator.engine.organisations import OrganisationSpec
from portal.simulator.engine.store import Store

blueprint = Blueprint("control", __name__, url_prefix="/control")


@blueprint.get("")
def state() -> Response:
    """How the stage is set."""
    return jsonify(_state(store_of_app()))


@blueprint.post("")
def change() -> Response:
    """Set `reset`, `strict`, `clock`, `phones`, `balances`, `promptSeconds`, `faults`; answers the state."""
    store, is_form = store_of_app(), _is_form()
    wanted = _form_order() if is_form else request.get_json(force=True, silent=True)
    if not isinstance(wanted, dict):
        raise Refused('Send a JSON object such as {"faults": {"noCallback": 1}}.', code="invalid_control")
    unknown = set(wanted) - {"reset", "strict", "clock", "phones", "balances", "promptSeconds", "faults"}
    if unknown:
        raise Refused(f"Not known here: {', '.join(sorted(unknown))}.", code="invalid_control")
    with store.transaction():
        if wanted.get("reset"):
            _reset(store)
        if "strict" in wanted:
            store.keep("strict", bool(wanted["strict"]))
        if "promptSeconds" in wanted:
            store.keep("prompt_seconds", max(0.0, _seconds(wanted["promptSeconds"], "promptSeconds")))
        _move_clock(store, wanted.get("clock"))
        for number, instruction in _object(wanted, "phones").items():
            instruct(store, normalise_msisdn(number), instruction)
        for number, amount in _object(wanted, "balances").items():
            _set_balance(store, str(number), amount)
        if wanted.get("faults") is not None:
            faults.order(store, wanted["faults"])
    if is_form:
        return redirect(url_for("overview.front"), 303)  # type: ignore[return-value]
    return jsonify(_state(store))


@blueprint.get("/log")
def log() -> Response:
    """The latest 200 messages, newest first; `?phone=` of one phone."""
    number = request.args.get("phone", "")
    return jsonify({"items": journal.latest(store_of_app(), msisdn=normalise_msisdn(number) if number else "")})


@blueprint.get("/organisations")
def list_organisations() -> Response:
    """All of them, with their keys."""
    rows = store_of_app().all("SELECT * FROM organisations ORDER BY id")
    return jsonify({"items": [organisations.public_view(row) for row in rows]})


@blueprint.post("/organisations")
def open_organisation() -> tuple[Response, int]:
    """Open one, or update the one with this shortcode; 201 with every value, made-up ones too."""
    given = dict(request.form) if _is_form() else request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Refused("Send a JSON object with name, shortcode, kind.", code="invalid_organisation")
    row = organisations.open_or_update(store_of_app(), OrganisationSpec.of(given))
    return jsonify(organisations.public_view(row)), 201


@blueprint.post("/callbacks")
def send_callback() -> Response:
    """Post a callback made by hand: `{url, kind: stk | c2b | validation, ...}` or `{url, body}`.

    stk: checkoutRequestID (one of ours fills in the rest, url too), merchantRequestID, resultCode,
    resultDesc, amount,
    receipt, phone. c2b and validation: shortcode, account, amount, phone, receipt, name, transactionType.
    Answers `{status, answer, body}`; status is null if nobody took it.
    """
    store, is_form = store_of_app(), _is_form()
    given = dict(request.form) if is_form else request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Refused("Send a JSON object with url and kind.", code="invalid_callback")
    given = {name: value for name, value in given.items() if value not in (None, "")}
    kind = str(given.get("kind", "stk"))
    url, body = _hand_made(store, kind, given)
    if not url.startswith(("http://", "https://")):
        raise Refused("Give the url to post to, starting with http:// or https://.", code="invalid_callback")
    msisdn = normalise_msisdn(given["phone"]) if "phone" in given else ""
    status, answer = callback_sender.post(store, url, body, door=f"{kind} by hand", msisdn=msisdn)
    if is_form:
        return redirect(url_for("overview.front", _anchor="log"), 303)  # type: ignore[return-value]
    return jsonify({"status": status, "answer": answer, "body": body})


@blueprint.get("/statement")
def statement_file() -> Response:
    """An organisation's statement as a file; layout 1, 2 or 3."""
    store = store_of_app()
    organisation = organisations.payee(store, request.args.get("shortcode", ""))
    if organisation is None:
        raise NotFound("No organisation has this shortcode.")
    layout = request.args.get("layout", "2")
    if layout not in ("1", "2", "3") or request.args.get("format", "csv") != "csv":
        raise Refused("layout is 1, 2 or 3 and format is csv.", code="invalid_layout")
    name, text = statement.export(store, organisation, layout=layout)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, mimetype="text/csv", headers=headers)


def _hand_made(store: Store, kind: str, given: dict[str, Any]) -> tuple[str, Any]:
    url = str(given.get("url", ""))
    if "body" in given and isinstance(given["body"], dict | list):
        return url, given["body"]
    amount_cents = cents(given.get("amount", 1))
    receipt = str(given.get("receipt") or receipts.next_receipt(store))
    msisdn = normalise_msisdn(given.get("phone", "254708374149"))
    if kind == "stk":
        checkout = str(given.get("checkoutRequestID", given.get("checkoutRequestId", "")))
        push = store.one("SELECT * FROM pushes WHERE checkout_request_id = ?", checkout)
        code = str(given.get("resultCode", "0"))
        body = callbacks.stk(
            merchant_request_id=str(
                given.get("merchantRequestID") or (push["merchant_request_id"] if push else receipts.request_id())
            ),
            checkout_request_id=checkout or receipts.checkout_request_id(store, msisdn=msisdn),
            code=code,
            description=str(given.get("resultDesc") or behaviours.describe(code)),
            amount_cents=push["amount_cents"] if push and "amount" not in given else amount_cents,
            receipt=receipt,
            paid_at=store.timestamp(),
            msisdn=push["msisdn"] if push and "phone" not in given else msisdn,
        )
        return url or (push["callback_url"] if push else ""), body
    if kind in ("c2b", "validation"):
        shortcode = str(given.get("shortcode", "174379"))
        receiver = organisations.payee(store, shortcode)
        body = callbacks.c2b(
            is_till=receiver is not None and receiver["kind"] == "BUYGOODS",
            shortcode=shortcode,
            receipt=receipt,
            at=store.timestamp(),
            amount_cents=amount_cents,
            account=str(given.get("account", "")),
            msisdn=msisdn,
            name=str(given.get("name") or customer(store, msisdn)["name"]),
            version=1 if str(given.get("version", "2")) == "1" else 2,
            balance_cents=None if kind == "validation" or receiver is None else receiver["utility_cents"],
        )
        if "transactionType" in given:
            body["TransactionType"] = str(given["transactionType"])
        if not url and receiver is not None:
            row = store.one("SELECT * FROM c2b_urls WHERE organisation_id = ?", receiver["id"])
            url = (row["validation_url"] if kind == "validation" else row["confirmation_url"]) if row else ""
        return url, body
    raise Refused("kind is stk, c2b or validation; or give a body.", code="invalid_callback")


def _state(store: Store) -> dict[str, Any]:
    phones = store.all("SELECT * FROM customers ORDER BY msisdn LIMIT 200")
    return {
        "clock": {"now": clock.rfc3339(store.now()), "movedSeconds": store.offset_s},
        "strict": bool(store.setting("strict", False)),
        "promptSeconds": store.setting("prompt_seconds", 180),
        "faults": [_fault_view(row) for row in store.all("SELECT * FROM faults ORDER BY id")],
        "phones": {
            row["msisdn"]: {"name": row["name"], "balance": kes(row["balance_cents"])}
            | {"behaviour": behaviours.of_phone(store, row["msisdn"]).says}
            for row in phones
        },
        "organisations": [
            {"name": row["name"], "shortcode": row["shortcode"], "kind": row["kind"]}
            | {"utilityBalance": kes(row["utility_cents"]), "workingBalance": kes(row["working_cents"])}
            for row in store.all("SELECT * FROM organisations ORDER BY id")
        ],
        "behaviours": {ending: behaviour.says for ending, behaviour in behaviours.BEHAVIOURS.items()},
        "callbacksDue": store.must("SELECT count(*) AS n FROM jobs WHERE kind = 'post'")["n"],
    }


def _fault_view(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "name": row["name"],
        "shortcode": row["shortcode"] or None,
        "endpoint": row["endpoint"] or None,
        "times": row["times"],
        "value": row["value"],
    }


def _reset(store: Store) -> None:
    """Faults, instructions, clock, prompt life, locks and customers' money as at first; history stays."""
    store.run("DELETE FROM faults")
    store.run("DELETE FROM router_faults")
    store.run("UPDATE customers SET instruction = NULL, balance_cents = ?", START_CENTS)
    store.run("UPDATE organisations SET initiator_failures = 0")
    store.run("DELETE FROM settings WHERE name IN ('prompt_seconds', 'held_back')")
    store.move_clock(None)


def _move_clock(store: Store, wanted: Any) -> None:
    if wanted is None:
        return
    if not isinstance(wanted, dict) or not ({"moveSeconds", "reset"} & set(wanted)):
        raise Refused('clock is {"moveSeconds": 3600} or {"reset": true}.', code="invalid_clock")
    if wanted.get("reset"):
        store.move_clock(None)
    if wanted.get("moveSeconds") is not None:
        try:
            store.move_clock(_seconds(wanted["moveSeconds"], "moveSeconds"))
        except OverflowError as problem:
            raise Refused(str(problem), code="invalid_clock") from None


def _set_balance(store: Store, number: str, amount: Any) -> None:
    organisation = organisations.payee(store, number) if len(number) <= 7 else None
    if organisation is None:
        msisdn = normalise_msisdn(number)
        customer(store, msisdn)
        store.run("UPDATE customers SET balance_cents = ? WHERE msisdn = ?", cents(amount), msisdn)
        return
    both = amount if isinstance(amount, dict) else {"utility": amount}
    for account in ("utility", "working"):
        if account in both:
            store.update("organisations", organisation["id"], **{f"{account}_cents": cents(both[account])})


def _object(wanted: dict[str, Any], name: str) -> dict[str, Any]:
    value = wanted.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{name} is an object with phone numbers or shortcodes as names.", code="invalid_control")
    return value


def _seconds(value: Any, name: str) -> float:
    try:
        return finite(value)
    except (TypeError, ValueError):
        raise Refused(f"{name}: {value!r} is not a number of seconds.", code="invalid_control") from None


def _form_order() -> dict[str, Any]:
    """What the front page's small forms ask for."""
    order: dict[str, Any] = {}
    if request.form.get("moveSeconds"):
        order["clock"] = {"moveSeconds": request.form["moveSeconds"]}
    if request.form.get("reset"):
        order["reset"] = True
    if request.form.get("phone"):
        order["phones"] = {request.form["phone"]: request.form.get("behaviour") or None}
    return order


def _is_form() -> bool:
    return request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")
