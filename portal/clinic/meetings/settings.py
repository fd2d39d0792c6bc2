"""A clinic's choice of provider: its credentials sealed, checked by shape when they come and by asking each day."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import select, update

from portal.audit import chain
from portal.clinic.meetings.models import TO_CHECK, MeetingSettings
from portal.clinic.meetings.providers import FALLBACKS, KINDS, CannotMeet, google, jitsi, zoom
from portal.kernel import clock, vault
from portal.kernel.db import db, transaction, upsert_nothing
from portal.kernel.errors import Refused, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.notifications import tell
from portal.tenants.models import Tenant
from portal.users import team

ASKED = {"google": google, "zoom": zoom}  # those with an API
SECRETS = {"google": ("credential",), "zoom": ("secret",), "jitsi": ("secret",)}
NEEDED = {"google": ("credential", "subject"), "zoom": ("account", "client", "secret", "host"), "jitsi": ("domain",)}
# Where these meet: pages, signalling, and the media that goes over 443 where nothing else is open.
HOSTS = {"google": ("meet.google.com", "*.googleapis.com", "*.gstatic.com"), "zoom": ("zoom.us", "*.zoom.us")}
CHECK_EVERY, SHORTEST_OPEN, LONGEST_OPEN = timedelta(days=1), 0, 120
DEFAULT_OPENS_MINUTES = 15
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+(:\d{1,5})?")
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True)
class Settings:
    """How a clinic meets. configs: {provider: its settings}; base_url: of simple meetings, "" for our own door."""

    provider: str = "simple"
    fallback: str = "simple"
    opens_minutes: int = DEFAULT_OPENS_MINUTES
    base_url: str = ""
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def config(self) -> Mapping[str, Any]:
        """Of the provider in use."""
        return self.configs.get(self.provider, {})

    @property
    def opens_before(self) -> timedelta:
        return timedelta(minutes=self.opens_minutes)


def of(tenant: Tenant) -> Settings:
    """A clinic's choice; the simple one where it made none. A sealed value that no key opens counts as none."""
    row = _row(tenant.id)
    if row is None:
        return Settings(base_url=tenant.meeting_base_url)
    return Settings(row.provider, row.fallback, row.opens_minutes, tenant.meeting_base_url, _configs(row))


def hosts(tenant: Tenant) -> tuple[str, ...]:
    """The servers that a visit's meeting may lead to: what a captive network has to leave open for it, in order."""
    chosen = of(tenant)
    ways = {chosen.provider, chosen.fallback}
    found = [host for provider in KINDS if provider in ways for host in HOSTS.get(provider, ())]
    if "simple" in ways and chosen.base_url:
        found.append(urlsplit(chosen.base_url).hostname or "")
    if "jitsi" in ways:
        found.append(str(chosen.configs.get("jitsi", {}).get("domain", "")).partition(":")[0])
    return tuple(dict.fromkeys(filter(None, found)))


def kept(tenant_id: int) -> MeetingSettings | None:
    """The row, for what the last check said."""
    return _row(tenant_id)


def _row(tenant_id: int) -> MeetingSettings | None:
    return db.session.scalars(select(MeetingSettings).where(MeetingSettings.tenant_id == tenant_id)).one_or_none()


def _configs(row: MeetingSettings) -> dict[str, dict[str, Any]]:
    if row.config_sealed is None:
        return {}
    try:
        text = vault.unseal(row.config_sealed, context=vault.context(vault.MEETING, row.tenant_id))
    except vault.CannotOpen:
        logger.error("meeting_settings_sealed", tenant=row.tenant_id)
        return {}
    configs: dict[str, dict[str, Any]] = json.loads(text)
    return configs


def change(
    tenant: Tenant,
    *,
    provider: str,
    fallback: str,
    opens_minutes: int,
    base_url: str,
    given: Mapping[str, Any],
    actor: str,
) -> None:
    """Meet so from now on; what is made already stays. The caller commits. Raises Refused with every field at fault.

    given: the provider's settings; a secret that is left out keeps the one before, while its owner stays the same.
    """
    wrong: dict[str, Text] = {}
    if provider not in KINDS:
        wrong["provider"] = _("Choose one of them.")
    if fallback not in FALLBACKS:
        wrong["fallback"] = _("Choose one of them.")
    if not SHORTEST_OPEN <= opens_minutes <= LONGEST_OPEN:
        wrong["opens_minutes"] = _("From 0 to 120 minutes.")
    if base_url and not is_address(base_url):
        wrong["base_url"] = _("An address such as https://meet.example.co.ke, without user, query or fragment.")
    db.session.execute(upsert_nothing(MeetingSettings, unique=["tenant_id"], tenant_id=tenant.id))
    row = db.session.scalars(
        select(MeetingSettings).where(MeetingSettings.tenant_id == tenant.id).with_for_update()
    ).one()
    configs = _configs(row)
    if provider in NEEDED:
        configs[provider] = _with_secrets_kept(provider, given, configs.get(provider, {}))
        wrong |= problems(provider, configs[provider])
    if fallback == "jitsi" and "jitsi" not in configs:
        wrong["fallback"] = _("Set Jitsi up first, then choose it here.")
    if wrong:
        raise Refused(_("The meetings' settings are not complete."), code="invalid_fields", fields=wrong)
    tenant.meeting_base_url = base_url.rstrip("/")
    row.provider, row.fallback, row.opens_minutes = provider, fallback, opens_minutes
    row.config_sealed = vault.seal(json.dumps(configs), context=vault.context(vault.MEETING, tenant.id))
    row.check_at = clock.now() + CHECK_EVERY if provider in ASKED else None
    row.checked_at, row.check_error = None, ""
    chain.record(tenant.id, "tenant", tenant.id, "meetings_set", actor=actor, new=provider)


def _with_secrets_kept(provider: str, given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    now = {name: value for name, value in given.items() if value not in (None, "")}
    owner = {"jitsi": "domain", "zoom": "client", "google": "subject"}[provider]
    if now.get(owner) == before.get(owner):  # a secret is never told to another server or in another's name
        now = {name: before[name] for name in SECRETS[provider] if name in before} | now
    return now


def problems(provider: str, config: Mapping[str, Any]) -> dict[str, Text]:
    """Every setting that is missing or malformed, each with a sentence; empty when all is well."""
    found: dict[str, Text] = {
        f"{provider}_{name}": _("This is needed.") for name in NEEDED[provider] if not config.get(name)
    }
    if provider == "google":
        if (account := config.get("credential")) and not _is_account(account):
            found["google_credential"] = _("Paste the whole JSON file of the service account's key.")
        if (subject := config.get("subject")) and not _MAIL.fullmatch(str(subject)):
            found["google_subject"] = _("An e-mail address of your Google Workspace.")
    if provider == "zoom" and (host := config.get("host")) and not _MAIL.fullmatch(str(host)):
        found["zoom_host"] = _("The e-mail address of the Zoom user who holds the meetings.")
    if provider == "jitsi" and (domain := config.get("domain")):
        if not _DOMAIN.fullmatch(str(domain)):
            found["jitsi_domain"] = _("A server's name alone, such as meet.example.co.ke.")
        if config.get("app_id") and not config.get("secret"):
            found["jitsi_secret"] = _("An app id needs its secret or private key.")
        if domain == jitsi.JAAS and not (config.get("app_id") and config.get("key_id")):
            found["jitsi_key_id"] = _("8x8 needs the app id and the key's id.")
        if domain == jitsi.JAAS and config.get("secret") and not _is_key(str(config["secret"])):
            found["jitsi_secret"] = _("8x8 needs a private key (PEM).")
    return found


def read_account(text: str) -> Any:
    """A service account's key file; the text itself where it is none, which `problems` says."""
    try:
        account = json.loads(text)
    except ValueError:
        return text.strip()
    return account if isinstance(account, dict) else text.strip()


def _is_account(account: object) -> bool:
    if not isinstance(account, dict):
        return False
    return "@" in str(account.get("client_email") or "") and _is_key(str(account.get("private_key") or ""))


def _is_key(pem: str) -> bool:
    try:
        load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        return False
    return True


def is_address(url: str, *, with_query: bool = False) -> bool:
    """Whether simple meetings may stand under it: absolute, http or https, no user, query or fragment."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    is_plain = "@" not in parts.netloc and (with_query or not (parts.query or parts.fragment))
    return bool(host) and is_plain and parts.scheme in ("https", "http") and not re.search(r"\s", url)


def check(tenant_id: int) -> str:
    """Ask the provider whether our credentials hold; what it said, "" where all is well. Opens its own transactions."""
    tenant = db.session.get_one(Tenant, tenant_id)
    chosen = of(tenant)
    db.session.remove()
    error = ""
    try:
        if chosen.provider in ASKED:
            ASKED[chosen.provider].check(chosen.config)
        elif chosen.provider == "jitsi":
            jitsi.check(chosen.config)
    except CannotMeet as cannot:
        error = str(cannot)[:300]
    except Exception as broken:  # whatever a provider sends must not stop the other clinics' checks
        error = f"The answer cannot be read: {type(broken).__name__}."
    with transaction():
        next_at = clock.now() + CHECK_EVERY if chosen.provider in ASKED else None
        mine = update(MeetingSettings).where(
            MeetingSettings.tenant_id == tenant_id, MeetingSettings.provider == chosen.provider
        )
        db.session.execute(mine.values(checked_at=clock.now(), check_error=error, check_at=next_at))
    return error


def check_due() -> None:
    """Ask each provider whose day has come, and tell the administrators of one that refuses us. A job; it commits."""
    while (tenant_id := _next_to_check()) is not None:
        error = check(tenant_id)
        if error:
            with transaction():
                _tell_administrators(db.session.get_one(Tenant, tenant_id), error)


def _next_to_check() -> int | None:
    with transaction():
        due = select(MeetingSettings).where(TO_CHECK.is_due).order_by(MeetingSettings.check_at).limit(1)
        row = db.session.scalars(due.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        row.check_at = clock.now() + CHECK_EVERY
        return row.tenant_id


def _tell_administrators(tenant: Tenant, error: str) -> None:
    day = clock.nairobi(clock.now()).date().isoformat()
    text = _("Online meetings cannot be made: %(error)s Look at the meetings' settings.", error=error)
    for one in team.members(tenant.id):
        if one.role == "tenant_admin" and one.deactivated_at is None:
            key = f"meetings/{day}/{one.user_id}"
            tell.in_app(tenant.id, key, user_id=one.user_id, text=text, locale=tenant.locale, url="/staff/meetings")
