"""A gateway's settings: which are needed for which kind, changing them, and trying them out."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import String, delete, func, select, update

from portal.audit import chain
from portal.gateways import allowed_servers, client_factory, initiator, security_credential
from portal.gateways.models import SECRETS, Gateway, RetiredHook
from portal.kernel import clock
from portal.kernel.db import db, new_token, new_uid
from portal.kernel.errors import Conflict, Misconfigured, NotFound, Refused, Text

KINDS, SUB_KINDS, ENVIRONMENTS = (
    ("MPESA_API", "MPESA_NO_API"),
    ("PAYBILL", "BUYGOODS", "BANK"),
    ("sandbox", "production"),
)
# The JSON API's and the form's names, and the columns behind them.
FIELDS = {
    "type": "kind",
    "subType": "sub_kind",
    "name": "name",
    "displayName": "display_name",
    "shortcode": "shortcode",
    "storeNumber": "store_number",
    "accountNumber": "account_number",
    "initiatorName": "initiator_name",
    "certificate": "certificate",
    "b2cShortcode": "b2c_shortcode",
    "env": "environment",
    "baseUrl": "base_url",
    "isDefault": "is_default",
    "forClinic": "for_clinic",
    "forHotspot": "for_hotspot",
    "forPppoe": "for_pppoe",
}
SECRET_FIELDS = {
    "consumerKey": "consumer_key",
    "consumerSecret": "consumer_secret",
    "passkey": "passkey",
    "initiatorPassword": "initiator_password",
    "securityCredential": "security_credential",
}
# Where people's money goes to, and in whose name M-Pesa is asked.
WHERE_MONEY_GOES = ("type", "subType", "shortcode", "storeNumber", "accountNumber", "b2cShortcode", "certificate")
INITIATOR_FIELDS = {"initiatorName", "initiatorPassword", "securityCredential", "certificate"}
_FLAGS = ("isDefault", "forClinic", "forHotspot", "forPppoe")
_DIGITS = re.compile(r"[0-9]{5,7}", re.ASCII)
_ACCOUNT = re.compile(r"(?=.*[0-9])[A-Za-z0-9]([A-Za-z0-9 -]{0,18}[A-Za-z0-9])?", re.ASCII)  # as it is sent
_NAMES = {
    "shortcode": "shortcode",
    "storeNumber": "head office (store) number",
    "b2cShortcode": "pay-out shortcode",
}


class StaleSignin(Refused):
    """It needs somebody who signed in within the last quarter of an hour."""

    def __init__(self, message: Text) -> None:
        super().__init__(message, code="fresh_signin_required")


def problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Every field that is missing or malformed for its kind, each with a sentence; empty when all is well.

    values: the API's names; secrets as texts, or True where one is kept already. Source: promise G7.
    """
    found: dict[str, str] = {}
    for name, allowed in (("type", KINDS), ("subType", SUB_KINDS), ("env", ENVIRONMENTS)):
        if values.get(name) not in allowed:
            found[name] = f"Must be one of {', '.join(allowed)}."
    found |= {name: sentence for name, sentence in _needed(values) if not values.get(name)}
    for name, called in _NAMES.items():
        if values.get(name) and not _DIGITS.fullmatch(str(values[name])):
            found[name] = f"The {called} has 5 to 7 digits and nothing else."
    if not allowed_servers.is_base_url(
        str(values.get("baseUrl") or ""), is_development=client_factory.connections().is_development
    ):
        found["baseUrl"] = (
            "Must be a public https address such as https://api.safaricom.co.ke, without user, query or fragment; "
            "or empty for Safaricom's own."
        )
    if values.get("accountNumber") and not _ACCOUNT.fullmatch(str(values["accountNumber"])):
        found["accountNumber"] = "The bank account has at most 20 letters, digits, spaces and hyphens, and a digit."
    return found | _too_long(values) | _wrong_certificate(values)


def _too_long(values: Mapping[str, Any]) -> dict[str, str]:
    """What its column would not hold: named here, before a database cuts or refuses it."""
    lengths = {name: Gateway.__table__.c[column].type for name, column in FIELDS.items()}
    return {
        name: f"At most {kind.length} characters."
        for name, kind in lengths.items()
        if isinstance(kind, String) and kind.length and len(str(values.get(name) or "")) > kind.length
    }


def _needed(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields that this kind cannot do without, each with what to do about it."""
    yield "name", "Give it a name that staff will know it by."
    yield "shortcode", "Enter the paybill or till number: 5 to 7 digits."
    if values.get("subType") == "BANK":
        yield "accountNumber", "Enter the bank account that the money goes to."
    if values.get("type") != "MPESA_API":
        return
    for name, called in (
        ("consumerKey", "consumer key"),
        ("consumerSecret", "consumer secret"),
        ("passkey", "passkey"),
    ):
        yield name, f"Enter the {called} that Safaricom's portal shows for this app."
    if values.get("subType") == "BUYGOODS":
        yield "storeNumber", "Enter the head office (store) number that Go-Live gave this till."
    if values.get("subType") == "BANK":
        yield "storeNumber", "Enter the shortcode that the passkey belongs to."


def _wrong_certificate(values: Mapping[str, Any]) -> dict[str, str]:
    if values.get("certificate"):
        try:
            security_credential.fingerprint(str(values["certificate"]).encode())
        except (ValueError, Refused, Misconfigured) as error:
            return {"certificate": str(error)}
    password = values.get("initiatorPassword")
    if isinstance(password, str) and password and not values.get("certificate"):
        return {"certificate": "Upload Safaricom's certificate too: the password is encrypted with it."}
    return {}


def to_json(gateway: Gateway) -> dict[str, Any]:
    """The settings under the API's names; secrets as True or False, never their values."""
    values: dict[str, Any] = {name: getattr(gateway, column) for name, column in FIELDS.items()}
    return values | {name: gateway.has_secret(column) for name, column in SECRET_FIELDS.items()}


def fingerprint(gateway: Gateway) -> str | None:
    """SHA-256 of the certificate that is kept, for a person to compare; None where there is none."""
    return security_credential.fingerprint(gateway.certificate.encode()) if gateway.certificate else None


def read(given: Mapping[str, Any]) -> dict[str, Any]:
    """The known fields of a request, trimmed. Raises Refused for a value of the wrong type."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name in (*FIELDS, *SECRET_FIELDS):
        if name not in given or given[name] is None:
            continue
        value = given[name]
        if name in _FLAGS:
            if not isinstance(value, bool):
                wrong[name] = "Must be true or false."
        elif isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        elif not isinstance(value, str):
            wrong[name] = "Must be text."
        if isinstance(value, str):
            value = value.strip()
        values[name] = value
    if wrong:
        raise Refused("Some fields have the wrong type.", code="invalid_fields", fields=wrong)
    return values


def create(tenant_id: int, given: Mapping[str, Any], *, actor: str, is_fresh_signin: bool = False) -> Gateway:
    """A new gateway. Raises Refused with every field at fault. The caller commits.

    One for real money needs somebody who signed in just now (property 80).
    """
    values = {"type": "MPESA_API", "subType": "PAYBILL", "env": "sandbox"} | read(given)
    _refuse_if(problems(values))
    if values["env"] == "production" and not is_fresh_signin:
        raise StaleSignin("Sign in again before you add a gateway for real money.")
    with _as_before(tenant_id, is_fresh_signin=is_fresh_signin):
        gateway = Gateway(tenant_id=tenant_id)
        _set(gateway, values)
        gateway.is_default = False
        db.session.add(gateway)
        db.session.flush()
        is_first = not db.session.scalar(
            select(func.count()).where(
                Gateway.tenant_id == tenant_id, Gateway.is_default, Gateway.archived_at.is_(None)
            )
        )
        if values.get("isDefault") or is_first:
            make_default(gateway, actor=actor, is_fresh_signin=is_fresh_signin)
    chain.record(tenant_id, "gateway", gateway.id, "created", actor=actor, new=gateway.environment)
    return gateway


@contextmanager
def _as_before(tenant_id: int, *, is_fresh_signin: bool) -> Iterator[None]:
    """Raise StaleSignin where what happens inside turns real money into test money for any purpose, or the other way.

    A second gateway does so too: by its purposes it takes the place of another.
    """
    before = _environments(tenant_id)
    yield
    db.session.flush()
    after = _environments(tenant_id)
    if not is_fresh_signin and any(after.get(purpose, was) != was for purpose, was in before.items()):
        raise StaleSignin("Sign in again before you switch between test and real money.")


def _environments(tenant_id: int) -> dict[str, str]:
    """Whose money each purpose takes now, where it takes any."""
    found = {}
    for purpose in ("", *client_factory.PURPOSES):
        try:
            found[purpose] = client_factory.choose(tenant_id, purpose).environment
        except Refused:
            continue
    return found


def change(gateway: Gateway, given: Mapping[str, Any], *, actor: str, is_fresh_signin: bool) -> Gateway:
    """Change what is given; an empty secret keeps the old one. Raises Refused. The caller commits.

    Another server, another initiator and real money need somebody who signed in just now, and every secret again:
    a page left open, or a server of somebody's own, must not come by those that are kept (property 80). Another till,
    bank account or secret needs a fresh sign-in too where the money is real: payers would be sent there.

    Gives the gateway that stands for it now: the same row, or its successor where test and real money were switched.
    What is open must be dealt with then: `payments.environments.change` calls this, and does.
    """
    values = {name: value for name, value in read(given).items() if not (name in SECRET_FIELDS and value == "")}
    _refuse_if(problems(to_json(gateway) | values))
    if not is_fresh_signin and _needs_fresh_signin(gateway, values):
        raise StaleSignin(
            "Sign in again before you change where real money goes, the server or the initiator, or switch between "
            "test and real money."
        )
    if _asks_for_secrets(gateway, values):
        _refuse_if(_secrets_to_give_again(gateway, values))
    was = gateway.environment
    before = to_json(gateway)
    if values.get("env", was) != was:
        gateway = _successor(gateway)
    is_other_initiator = any(
        name in SECRET_FIELDS or values[name] != before[name] for name in INITIATOR_FIELDS & set(values)
    )
    with _as_before(gateway.tenant_id, is_fresh_signin=is_fresh_signin):
        _set(gateway, {name: value for name, value in values.items() if name != "isDefault"})
    gateway.test_passed = gateway.refused_at = None
    gateway.refused_why = ""
    if is_other_initiator:  # a form sends every field back: saving a name says nothing of the initiator
        initiator.release(gateway, actor=actor)
    db.session.flush()
    if values.get("isDefault") and not gateway.is_default:
        make_default(gateway, actor=actor, is_fresh_signin=is_fresh_signin)
    changed = sorted(values)
    chain.record(
        gateway.tenant_id,
        "gateway",
        gateway.id,
        "changed",
        actor=actor,
        old=was,
        new=gateway.environment,
        details={"fields": changed},
    )
    return gateway


# What a row knows of its own M-Pesa, and no other M-Pesa knows.
_ITS_OWN = {
    "id", "created_at", "hook_token", "previous_hook_token", "urls_registered_at", "pull_registered_at",
    "pulled_until", "balances", "balances_at", "tested_at", "test_passed", "test_message", "initiator_halted_at",
    "refused_at", "refused_why",
    "initiator_halted_why",
}  # fmt: skip


def _successor(gateway: Gateway) -> Gateway:
    """The row that takes this one's place and public id, with callback addresses of its own; the old one is archived.

    Each row stays in its environment for ever. So whatever began with test money (a prompt, a question, a refund)
    goes on with the test server, its secrets and its addresses, and is booked as test money, however late it ends.
    """
    copied = {
        column.name: getattr(gateway, column.name)
        for column in Gateway.__table__.columns
        if column.name not in _ITS_OWN
    }
    gateway.uid, gateway.is_default, gateway.archived_at = new_uid(), False, clock.now()
    db.session.flush()  # the public id and the default must be free first
    successor = Gateway(**copied)
    db.session.add(successor)
    return successor


def _server_of(base_url: str) -> str:
    address = urlsplit(base_url)
    return f"{address.scheme}://{address.netloc}".lower()


def _changes_server(gateway: Gateway, values: Mapping[str, Any]) -> bool:
    return _server_of(values.get("baseUrl", gateway.base_url)) != _server_of(gateway.base_url)


def _needs_fresh_signin(gateway: Gateway, values: Mapping[str, Any]) -> bool:
    return (
        values.get("env", gateway.environment) != gateway.environment
        or _changes_server(gateway, values)
        or values.get("initiatorName", gateway.initiator_name) != gateway.initiator_name
        or (not gateway.is_sandbox and _moves_money(gateway, values))
    )


def _moves_money(gateway: Gateway, values: Mapping[str, Any]) -> bool:
    known = to_json(gateway)
    is_other = any((values.get(name, known[name]) or "") != (known[name] or "") for name in WHERE_MONEY_GOES)
    return is_other or any(values.get(name) for name in SECRET_FIELDS)


def _asks_for_secrets(gateway: Gateway, values: Mapping[str, Any]) -> bool:
    is_other_initiator = values.get("initiatorName", gateway.initiator_name) != gateway.initiator_name
    return (
        _changes_server(gateway, values)
        or (values.get("env") == "production" and gateway.is_sandbox)
        or (is_other_initiator and bool(gateway.initiator_name))
    )


def _secrets_to_give_again(gateway: Gateway, values: Mapping[str, Any]) -> dict[str, str]:
    """Every secret that is kept and not given, each with a sentence. A credential stands for its password."""
    sentence = "Enter it again: the one that is kept goes to no other server, and is not used for real money."
    given = {column for name, column in SECRET_FIELDS.items() if values.get(name)}
    if given & {"initiator_password", "security_credential"}:
        given |= {"initiator_password", "security_credential"}
    return {
        name: sentence
        for name, column in SECRET_FIELDS.items()
        if gateway.has_secret(column)
        and column not in given
        and not (column == "security_credential" and gateway.has_secret("initiator_password"))  # made of that one
    }


def _refuse_if(found: dict[str, str]) -> None:
    if found:
        named = ", ".join(found)
        raise Refused(f"The gateway is not complete: {named}.", code="invalid_fields", fields=found)


def _set(gateway: Gateway, values: Mapping[str, Any]) -> None:
    certificate_before = gateway.certificate or ""
    for name, column in FIELDS.items():
        if name in values:
            setattr(gateway, column, values[name])
    for name, column in SECRET_FIELDS.items():
        if values.get(name):
            gateway.keep_secret(column, values[name])
    password = values.get("initiatorPassword")
    if not password and not values.get("securityCredential") and gateway.certificate != certificate_before:
        password = gateway.secret("initiator_password")  # the one kept, for the new certificate
    if password and gateway.certificate:
        made = security_credential.security_credential(password, gateway.certificate.encode())
        gateway.keep_secret("security_credential", made)
    elif values.get("securityCredential"):
        gateway.initiator_password_sealed = None


def make_default(gateway: Gateway, *, actor: str, is_fresh_signin: bool = True) -> None:
    """Make it the tenant's default, in place of the one before. The caller commits.

    Where that turns test money into real, or real into test, it needs a fresh sign-in (property 80).
    """
    others = (Gateway.tenant_id == gateway.tenant_id, Gateway.id != gateway.id)
    before = db.session.scalar(select(Gateway.environment).where(*others, Gateway.is_default))
    if before is not None and before != gateway.environment and not is_fresh_signin:
        raise StaleSignin("Sign in again before you switch between test and real money.")
    with _as_before(gateway.tenant_id, is_fresh_signin=is_fresh_signin):
        db.session.execute(update(Gateway).where(*others).values(is_default=False))
        db.session.flush()
        gateway.is_default = True
    chain.record(gateway.tenant_id, "gateway", gateway.id, "made_default", actor=actor)


def is_used(gateway: Gateway) -> bool:
    """Whether a row of any room points at it (money, a payment, a callback, a statement): the schema's own foreign
    keys say where to look.
    """
    pointing = (
        key.parent
        for table in Gateway.metadata.tables.values()
        if table is not RetiredHook.__table__
        for key in table.foreign_keys
        if key.column.table is Gateway.__table__
    )
    return any(db.session.scalar(select(column).where(column == gateway.id).limit(1)) for column in pointing)


def archive(gateway: Gateway, *, actor: str, is_fresh_signin: bool = True) -> bool:
    """Remove it: deleted where nothing points at it, archived otherwise; True if deleted. The caller commits.

    The newest of its environment becomes the default in its place. Where only the other environment is left, that
    switches between test and real money, and needs a fresh sign-in.
    """
    is_kept = is_used(gateway)
    chain.record(
        gateway.tenant_id,
        "gateway",
        gateway.id,
        "archived" if is_kept else "deleted",
        actor=actor,
        old=gateway.name,
    )
    was_default, tenant_id, environment = gateway.is_default, gateway.tenant_id, gateway.environment
    with _as_before(tenant_id, is_fresh_signin=is_fresh_signin):
        if is_kept:
            gateway.archived_at, gateway.is_default = clock.now(), False
        else:
            db.session.execute(delete(RetiredHook).where(RetiredHook.gateway_id == gateway.id))
            db.session.delete(gateway)
        db.session.flush()
        if was_default and (left := of_tenant(tenant_id)):
            make_default(next((one for one in left if one.environment == environment), left[0]), actor=actor)
    return not is_kept


def rotate_hooks(gateway: Gateway, *, actor: str) -> None:
    """Give it a new callback token; the old one works on until the next rotation. The caller commits.

    The one before that is retired, not forgotten: what comes there is believed only when M-Pesa says the same.
    """
    if gateway.previous_hook_token:
        retired = RetiredHook(tenant_id=gateway.tenant_id, gateway_id=gateway.id, token=gateway.previous_hook_token)
        db.session.add(retired)
    gateway.previous_hook_token, gateway.hook_token = gateway.hook_token, new_token()
    gateway.urls_registered_at = None
    chain.record(gateway.tenant_id, "gateway", gateway.id, "hooks_rotated", actor=actor)


def of_tenant(tenant_id: int) -> list[Gateway]:
    """The tenant's gateways, newest first, without archived ones."""
    mine = select(Gateway).where(Gateway.tenant_id == tenant_id, Gateway.archived_at.is_(None))
    return list(db.session.scalars(mine.order_by(Gateway.id.desc())))


def get_by_uid(tenant_id: int, uid: str) -> Gateway:
    """One of the tenant's gateways. Raises NotFound."""
    gateway = db.session.scalars(
        select(Gateway).where(Gateway.tenant_id == tenant_id, Gateway.uid == uid, Gateway.archived_at.is_(None))
    ).one_or_none()
    if gateway is None:
        raise NotFound("There is no such gateway here.")
    return gateway


def require_api(gateway: Gateway) -> Gateway:
    """The gateway, if it can speak to Daraja. Raises Conflict."""
    if gateway.kind != "MPESA_API":
        raise Conflict("This gateway has no API: its payments are confirmed by staff.")
    return gateway


assert set(SECRET_FIELDS.values()) == set(SECRETS)  # noqa: S101 - the two lists are one, told to readers of each
