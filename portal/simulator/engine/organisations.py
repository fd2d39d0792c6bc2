"""Who takes money: paybills, tills and banks, with the keys that open their doors."""

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portal.kernel.errors import Refused
from portal.simulator.engine.store import Store

SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"  # public, from Safaricom's portal
START_CENTS = 1_000_000_00
KINDS = ("PAYBILL", "BUYGOODS", "BANK")


@dataclass(frozen=True, slots=True)
class OrganisationSpec:
    """What an organisation is to be; an empty secret is made up when it is first opened.

    shortcode: the paybill, the till of BUYGOODS, the bank's paybill. store_number: BUYGOODS' head office,
    with which its pushes are signed. till: only where `shortcode` is the head office's number.
    """

    name: str
    shortcode: str
    kind: str = "PAYBILL"
    store_number: str = ""
    till: str = ""
    consumer_key: str = ""
    consumer_secret: str = ""
    passkey: str = ""
    initiator_name: str = ""
    initiator_password: str = ""
    external_validation: bool | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "OrganisationSpec":
        """From JSON's camelCase names. Raises Refused with the fields that are wrong."""

        def text(*names: str) -> str:
            return next((str(given[name]).strip() for name in names if given.get(name) not in (None, "")), "")

        spec = cls(
            name=text("name", "displayName"),
            shortcode=text("shortcode", "shortCode"),
            kind=(text("kind", "subType") or "PAYBILL").upper(),
            store_number=text("storeNumber"),
            till=text("till", "tillNumber"),
            consumer_key=text("consumerKey"),
            consumer_secret=text("consumerSecret"),
            passkey=text("passkey", "passKey"),
            initiator_name=text("initiatorName"),
            initiator_password=text("initiatorPassword"),
            external_validation=bool(given["externalValidation"]) if "externalValidation" in given else None,
        )
        wrong = {}
        if not _is_number(spec.shortcode):
            wrong["shortcode"] = "Give a shortcode of 5 to 7 digits."
        if spec.store_number and not _is_number(spec.store_number):
            wrong["storeNumber"] = "Give a store number of 5 to 7 digits."
        if spec.till and not _is_number(spec.till):
            wrong["till"] = "Give a till of 5 to 7 digits."
        if spec.kind not in KINDS:
            wrong["kind"] = f"Give one of {', '.join(KINDS)}."
        if wrong:
            raise Refused(" ".join(wrong.values()), code="invalid_organisation", fields=wrong)
        return spec


FIRST = OrganisationSpec(
    name="DARAJA SIMULATOR",
    shortcode="174379",
    consumer_key="simulator-key",
    consumer_secret="simulator-secret",
    passkey=SANDBOX_PASSKEY,
    initiator_name="testapi",
    initiator_password="Safaricom123!",
)
# Paybills of banks, as integrators print them; any other is opened when money is first sent to it.
BANKS = (
    OrganisationSpec("Equity Paybill Account", "247247", "BANK"),
    OrganisationSpec("KCB Paybill Account", "522522", "BANK"),
    OrganisationSpec("Co-operative Bank Money Transfer", "400200", "BANK"),
)


def open_or_update(store: Store, spec: OrganisationSpec) -> sqlite3.Row:
    """The organisation's row; what `spec` leaves empty keeps its value, or is made up."""
    with store.transaction():
        old = store.one("SELECT * FROM organisations WHERE shortcode = ?", spec.shortcode)
        kept: dict[str, Any] = dict(old) if old else {}

        def choose(column: str, given: str, fallback: str) -> str:
            return given or str(kept.get(column) or "") or fallback

        is_till = spec.kind == "BUYGOODS"
        till = choose("till", spec.till, spec.shortcode) if is_till else ""
        fallback_store = spec.shortcode if spec.kind != "BANK" else ""
        columns: dict[str, Any] = {
            "shortcode": spec.shortcode,
            "store_number": choose("store_number", spec.store_number, fallback_store),
            "till": till,
            "kind": spec.kind,
            "name": choose("name", spec.name, f"PAYBILL {spec.shortcode}"),
            "consumer_key": choose("consumer_key", spec.consumer_key, "key-" + secrets.token_hex(12)),
            "consumer_secret": choose("consumer_secret", spec.consumer_secret, "secret-" + secrets.token_hex(12)),
            "passkey": choose("passkey", spec.passkey, secrets.token_hex(32)),
            "initiator_name": choose("initiator_name", spec.initiator_name, "api" + spec.shortcode),
            "initiator_password": choose(
                "initiator_password", spec.initiator_password, "Pass" + secrets.token_hex(4) + "#"
            ),
        }
        if spec.external_validation is not None:
            columns["external_validation"] = int(spec.external_validation)
        if old is None:
            store.insert("organisations", **columns, utility_cents=START_CENTS, working_cents=START_CENTS)
        else:
            if columns["initiator_password"] != old["initiator_password"]:
                columns["initiator_failures"] = 0  # a new password unlocks the API user
            store.update("organisations", old["id"], **columns)
        return store.must("SELECT * FROM organisations WHERE shortcode = ?", spec.shortcode)


def live_on_daraja(store: Store, number: str, *, consumer_key: str) -> sqlite3.Row | None:
    """The organisation that this app may push for with BusinessShortCode `number`; a bare till is none."""
    return store.one(
        "SELECT * FROM organisations WHERE store_number = ? AND consumer_key = ? ORDER BY kind = 'BANK', id LIMIT 1",
        number,
        consumer_key,
    )


def owned(store: Store, number: str, *, consumer_key: str) -> sqlite3.Row | None:
    """The app's organisation with this number, whichever of its numbers it is."""
    return store.one(
        "SELECT * FROM organisations WHERE ? IN (shortcode, store_number, till) AND consumer_key = ?"
        " ORDER BY kind = 'BANK', id LIMIT 1",
        number,
        consumer_key,
    )


def payee(store: Store, number: str) -> sqlite3.Row | None:
    """Whoever a customer pays at this paybill or till."""
    if not number:  # most have no till, which is kept as an empty text
        return None
    return store.one(
        "SELECT * FROM organisations WHERE shortcode = ? OR till = ? OR store_number = ?"
        " ORDER BY shortcode = ? DESC, till = ? DESC, kind = 'BANK', id LIMIT 1",
        *[number] * 5,
    )


def numbers_of(organisation: sqlite3.Row) -> set[str]:
    """Every number it is known by."""
    return {organisation["shortcode"], organisation["store_number"], organisation["till"]} - {""}


def public_view(organisation: sqlite3.Row) -> dict[str, Any]:
    """What `POST /control/organisations` answers: every value, secrets too, for they are pretended ones."""
    return {
        "name": organisation["name"],
        "shortcode": organisation["shortcode"],
        "storeNumber": organisation["store_number"],
        "till": organisation["till"],
        "kind": organisation["kind"],
        "consumerKey": organisation["consumer_key"],
        "consumerSecret": organisation["consumer_secret"],
        "passkey": organisation["passkey"],
        "initiatorName": organisation["initiator_name"],
        "initiatorPassword": organisation["initiator_password"],
        "externalValidation": bool(organisation["external_validation"]),
        "utilityBalance": organisation["utility_cents"] / 100,
        "workingBalance": organisation["working_cents"] / 100,
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and 5 <= len(text) <= 7
