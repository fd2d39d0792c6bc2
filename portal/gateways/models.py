"""A gateway: one way a tenant reaches M-Pesa."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, new_token, new_uid, sealed

SECRETS = ("consumer_key", "consumer_secret", "passkey", "initiator_password", "security_credential")
_ONE_DEFAULT = "is_default AND archived_at IS NULL"


class Gateway(TenantOwned, Model):
    """Paybill, till or bank, with or without Daraja's API; its secrets are sealed and never shown again."""

    __tablename__ = "gateways"
    __table_args__ = (
        CheckConstraint("kind IN ('MPESA_API', 'MPESA_NO_API')", name="kind"),
        CheckConstraint("sub_kind IN ('PAYBILL', 'BUYGOODS', 'BANK')", name="sub_kind"),
        CheckConstraint("environment IN ('sandbox', 'production')", name="environment"),
        Index(
            "uq_gateways_one_default",
            "tenant_id",
            unique=True,
            sqlite_where=text(_ONE_DEFAULT),
            postgresql_where=text(_ONE_DEFAULT),
        ),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    name: Mapped[str] = mapped_column(String(60))
    display_name: Mapped[str] = mapped_column(String(60), default="")
    kind: Mapped[str] = mapped_column(String(20))
    sub_kind: Mapped[str] = mapped_column(String(10))
    shortcode: Mapped[str] = mapped_column(String(10))
    store_number: Mapped[str] = mapped_column(String(10), default="")
    account_number: Mapped[str] = mapped_column(String(20), default="")
    environment: Mapped[str] = mapped_column(String(10))
    base_url: Mapped[str] = mapped_column(String(200), default="")
    consumer_key_sealed: Mapped[str | None] = sealed("gateway.consumer_key")
    consumer_secret_sealed: Mapped[str | None] = sealed("gateway.consumer_secret")
    passkey_sealed: Mapped[str | None] = sealed("gateway.passkey")
    initiator_name: Mapped[str] = mapped_column(String(60), default="")
    initiator_password_sealed: Mapped[str | None] = sealed("gateway.initiator_password")
    certificate: Mapped[str] = mapped_column(Text, default="")
    security_credential_sealed: Mapped[str | None] = sealed("gateway.security_credential")
    b2c_shortcode: Mapped[str] = mapped_column(String(10), default="")
    is_default: Mapped[bool] = mapped_column(default=False)
    for_clinic: Mapped[bool] = mapped_column(default=False)
    for_hotspot: Mapped[bool] = mapped_column(default=False)
    for_pppoe: Mapped[bool] = mapped_column(default=False)
    hook_token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    previous_hook_token: Mapped[str | None] = mapped_column(String(40), unique=True)
    urls_registered_at: Mapped[datetime | None]
    initiator_halted_at: Mapped[datetime | None]  # after the first 2001 or 8006 nothing more is sent with it
    initiator_halted_why: Mapped[str] = mapped_column(String(300), default="")
    pull_registered_at: Mapped[datetime | None]
    pulled_until: Mapped[datetime | None]
    balances: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)  # [{account, available_cents}, …]
    balances_at: Mapped[datetime | None]
    tested_at: Mapped[datetime | None]
    test_passed: Mapped[bool | None]
    test_message: Mapped[str] = mapped_column(String(300), default="")
    refused_at: Mapped[datetime | None]  # M-Pesa refuses its prompts for its settings, not for a payer's reason
    refused_why: Mapped[str] = mapped_column(String(300), default="")
    archived_at: Mapped[datetime | None]

    def keep_secret(self, name: str, value: str) -> None:
        """Seal one of SECRETS. The row must have its tenant."""
        setattr(self, f"{name}_sealed", vault.seal(value, context=vault.context(f"gateway.{name}", self.tenant_id)))

    def secret(self, name: str) -> str:
        """One of SECRETS, or an empty text where none is kept."""
        kept = getattr(self, f"{name}_sealed")
        return vault.unseal(kept, context=vault.context(f"gateway.{name}", self.tenant_id)) if kept else ""

    def has_secret(self, name: str) -> bool:
        return bool(getattr(self, f"{name}_sealed"))

    @property
    def is_sandbox(self) -> bool:
        return self.environment == "sandbox"

    @property
    def shown_name(self) -> str:
        return self.display_name or self.name


class RetiredHook(TenantOwned, Model, is_paged=False):
    """A callback token that two rotations have replaced. M-Pesa may go on reporting to it: in production a registered
    address changes by hand only. What comes is odd: it is kept, and believed when M-Pesa says the same.
    """

    __tablename__ = "retired_hooks"

    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"), index=True)
    token: Mapped[str] = mapped_column(String(40), unique=True)
