"""What we know of each router besides its settings: whether it answers, and who a gateway has seen."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.hotspot.models import Site
from portal.kernel import clock
from portal.kernel.db import Model, TenantOwned
from portal.kernel.due import Due

TO_SWEEP = Due("router_states", "sweep_at", ("sweep_at IS NOT NULL",))


class RouterState(TenantOwned, Model, is_paged=False):
    """Whether a router can be spoken to now: its circuit. One row a site that is told, made when it is first told.

    failing_since: since when it did not answer, or wrongly; None: it answers. failures: tries since then. try_at: when
    it is spoken to again; nothing of it is tried before. answered_at: when it last answered. sweep_at: when its list of
    who is online is compared with who may be. certificate_sha256: of the TLS certificate pinned at the first check.
    """

    __tablename__ = "router_states"
    __table_args__ = (TO_SWEEP.index("ix_router_states_sweep"),)

    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"), unique=True)
    failing_since: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    try_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(String(300), default="")
    answered_at: Mapped[datetime | None]
    sweep_at: Mapped[datetime | None] = mapped_column(default=clock.now)
    certificate_sha256: Mapped[str] = mapped_column(String(64), default="")


class GatewayClient(TenantOwned, Model, is_paged=False):
    """A device that an openNDS gateway has behind it, let in or not. One row a device and site."""

    __tablename__ = "gateway_clients"
    __table_args__ = (UniqueConstraint("site_id", "mac"), Index("ix_gateway_clients_seen", "site_id", "seen_at"))

    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    mac: Mapped[str] = mapped_column(String(17))
    ip: Mapped[str] = mapped_column(String(45), default="")
    seen_at: Mapped[datetime] = mapped_column(default=clock.now)


__all__ = ["TO_SWEEP", "GatewayClient", "RouterState", "Site"]
