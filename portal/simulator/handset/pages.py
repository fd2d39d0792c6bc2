"""What the simulator's pages show, gathered from the rows; no page reads a table by itself."""

import hashlib
import json
from typing import Any

from flask import render_template, request
from markupsafe import Markup

from portal.kernel import clock, phone
from portal.kernel.money import format_kes
from portal.simulator.engine import behaviours, journal, prompts
from portal.simulator.engine.customers import START_CENTS, left_today_cents
from portal.simulator.engine.store import Store, instant


def wants_html() -> bool:
    """Only a browser names text/html; every other client gets JSON, whatever it accepts."""
    return "text/html" in request.headers.get("Accept", "").lower()


def draw(names: tuple[str, ...], shown: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Fragments by name, each with a version: a script replaces only what changed, so typing survives."""
    drawn = {name: Markup(render_template(f"_{name}.html", **shown)) for name in names}  # noqa: S704
    return {
        name: {"version": hashlib.sha256(html.encode()).hexdigest()[:16], "html": html} for name, html in drawn.items()
    }


_DOORS = {
    "oauth": "Sign-on",
    "stkpush": "STK push",
    "stkquery": "STK query",
    "registerurl": "C2B register URLs",
    "simulate": "C2B simulate",
    "b2c": "B2C payment",
    "reversal": "Reversal",
    "status": "Transaction status",
    "balance": "Account balance",
    "qr": "QR code",
    "pull": "Pull transactions",
    "pullregister": "Pull register",
}


def _log(store: Store, msisdn: str) -> list[dict[str, Any]]:
    return [
        line
        | {"said": _pretty(line["body"]), "heard": _pretty(line["answer"]), "mood": _mood(line["status"])}
        | {"title": _DOORS.get(line["door"], line["door"]), "gist": _gist(line["body"], line["answer"])}
        for line in journal.latest(store, msisdn=msisdn, limit=40)
    ]


def _gist(body: Any, answer: Any) -> str:
    """The one thing worth knowing of a message, beside its name."""
    if isinstance(answer, dict) and "errorMessage" in answer:
        return str(answer["errorMessage"])
    if not isinstance(body, dict):
        return ""
    envelope = body.get("Body")
    for told in (
        envelope.get("stkCallback") if isinstance(envelope, dict) else None,
        body.get("Result"),
        answer,
    ):
        if isinstance(told, dict) and "ResultDesc" in told and (told is not answer or "CheckoutRequestID" in told):
            return f"{told.get('ResultCode')}: {told['ResultDesc']}"
    amount = body.get("Amount", body.get("TransAmount"))
    account = body.get("AccountReference", body.get("BillRefNumber")) or ""
    return f"KES {amount} {account}".strip() if amount else ""


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _mood(status: str) -> str:
    return "good" if status.startswith("2") else "bad" if status == "lost" or status.startswith("5") else "odd"


def phone_parts(store: Store, msisdn: str) -> dict[str, Any]:
    """All that a phone's page draws."""
    prompt = prompts.open_prompt(store, msisdn)
    row = store.one("SELECT * FROM customers WHERE msisdn = ?", msisdn)
    now = clock.nairobi(store.now())
    inbox = [
        {"text": message["text"], "when": f"{clock.nairobi(instant(message['at'])):%d %b, %H:%M}"}
        for message in store.all("SELECT * FROM messages WHERE msisdn = ? ORDER BY id DESC LIMIT 20", msisdn)
    ]
    ended = store.one(
        "SELECT * FROM pushes WHERE msisdn = ? AND state = 'settled' ORDER BY settled_at DESC LIMIT 1", msisdn
    )
    return {
        "msisdn": msisdn,
        "for_people": phone.for_people(msisdn),
        "name": row["name"] if row else "",
        "balance": format_kes(row["balance_cents"] if row else START_CENTS),
        "left_today": format_kes(left_today_cents(store, msisdn)),
        "behaviour": behaviours.of_phone(store, msisdn),
        "is_instructed": bool(row and row["instruction"]),
        "clock": f"{now:%H:%M}",
        "prompt": prompt,
        "amount": format_kes(prompt["amount_cents"]) if prompt else "",
        "ended": ended,
        "inbox": inbox,
        "log": _log(store, msisdn),
        "behaviours": behaviours.BEHAVIOURS,
        "organisations": store.all(
            "SELECT name, kind, shortcode, till FROM organisations WHERE kind != 'BANK' ORDER BY name"
        ),
    }


def overview_parts(store: Store) -> dict[str, Any]:
    """All that the front page draws."""
    open_prompts = store.all(
        "SELECT pushes.id, pushes.msisdn, pushes.amount_cents, pushes.reference,"
        " organisations.name AS business"
        " FROM pushes JOIN organisations ON organisations.id = pushes.receiver_id"
        " WHERE state = 'ringing' AND expires_at > ? ORDER BY pushes.id DESC LIMIT 50",
        store.timestamp(),
    )
    phones = store.all(
        "SELECT customers.*, (SELECT max(id) FROM messages WHERE messages.msisdn ="
        " customers.msisdn) AS newest,"
        " (SELECT text FROM messages WHERE messages.msisdn = customers.msisdn ORDER BY"
        " id DESC LIMIT 1) AS text"
        " FROM customers ORDER BY newest DESC NULLS LAST, msisdn LIMIT 12"
    )
    return {
        "open_prompts": [dict(row) | {"amount": format_kes(row["amount_cents"])} for row in open_prompts],
        "phones": [
            dict(row)
            | {"for_people": phone.for_people(row["msisdn"]), "balance": format_kes(row["balance_cents"])}
            | {"says": behaviours.of_phone(store, row["msisdn"]).says}
            for row in phones
        ],
        "behaviours": behaviours.BEHAVIOURS,
        "organisations": [
            dict(row) | {"utility": format_kes(row["utility_cents"]), "working": format_kes(row["working_cents"])}
            for row in store.all("SELECT * FROM organisations ORDER BY kind = 'BANK', id")
        ],
        "faults": store.all("SELECT * FROM faults ORDER BY id"),
        "log": _log(store, ""),
        "test_msisdn": phone.TEST_MSISDN,
        "time": f"{clock.nairobi(store.now()):%d %b %Y, %H:%M}",
        "offset_s": round(store.offset_s),
        "is_strict": bool(store.setting("strict", False)),
    }
