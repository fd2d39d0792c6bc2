"""Packages, what was bought, and the access it opened."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.kernel import clock, vault
from portal.kernel.db import Model, TenantOwned, new_uid, sealed
from portal.payments.models import Payment


class Package(TenantOwned, Model):
    """Internet for sale. `rate`: RouterOS' form, upload/download, such as `2M/5M`. No cap: NULL."""

    __tablename__ = "packages"
    __table_args__ = (
        CheckConstraint("price_cents > 0", name="price_positive"),
        CheckConstraint("duration_s > 0", name="duration_positive"),
        CheckConstraint("kind IN ('hotspot', 'pppoe')", name="kind"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    kind: Mapped[str] = mapped_column(String(10), default="hotspot")
    name: Mapped[str] = mapped_column(String(60))
    price_cents: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[int] = mapped_column(BigInteger)
    rate: Mapped[str] = mapped_column(String(30), default="")
    data_cap_bytes: Mapped[int | None] = mapped_column(BigInteger)
    devices: Mapped[int] = mapped_column(default=1)
    withdrawn_at: Mapped[datetime | None]

    @property
    def speed(self) -> str:
        """`5 Mbps` of the rate's download half."""
        down = self.rate.rsplit("/", 1)[-1]
        return f"{down[:-1]} Mbps" if down.endswith("M") else down


class Router(TenantOwned, Model):
    """A router of this tenant. `login_host`: the only host its login form may be on, or codes would leak."""

    __tablename__ = "routers"
    __table_args__ = (UniqueConstraint("tenant_id", "identity"),)

    identity: Mapped[str] = mapped_column(String(60))
    login_host: Mapped[str] = mapped_column(String(100))


class Purchase(TenantOwned, Model, is_paged=False):
    """One package being bought by one device; where to send it afterwards.

    `browser_hash`: of the id in the cookie of the browser that began it, which proves that it is the same one again.
    `nas_address` is the router's address; `client_ip` the device's own, as the router wrote it.
    """

    __tablename__ = "purchases"
    __table_args__ = (
        Index("ix_purchases_device", "tenant_id", "mac", "id"),
        Index("ix_purchases_browser", "tenant_id", "browser_hash", "id"),
    )

    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), unique=True)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    mac: Mapped[str] = mapped_column(String(17), default="")
    browser_hash: Mapped[str] = mapped_column(String(64), default="")
    locale: Mapped[str] = mapped_column(String(5), default="en")  # what its payer reads, in messages too
    client_ip: Mapped[str] = mapped_column(String(45), default="")
    nas_address: Mapped[str] = mapped_column(String(45), default="")
    nas_identity: Mapped[str] = mapped_column(String(60), default="")
    login_url: Mapped[str] = mapped_column(String(300), default="")
    wanted_url: Mapped[str] = mapped_column(String(500), default="")
    chap_id: Mapped[str] = mapped_column(String(8), default="")
    chap_challenge: Mapped[str] = mapped_column(String(100), default="")
    payment: Mapped[Payment] = relationship()
    package: Mapped[Package] = relationship()


class AccessGrant(TenantOwned, Model, is_paged=False):
    """A username and password that open the internet between `starts_at` and `expires_at`. One a purchase.

    It starts when what ran on the same device before it is over. `ended_at`: closed before its time, because its money
    was taken back or never came.
    """

    __tablename__ = "access_grants"
    __table_args__ = (UniqueConstraint("tenant_id", "username"),)

    purchase_id: Mapped[int] = mapped_column(ForeignKey("purchases.id"), unique=True)
    username: Mapped[str] = mapped_column(String(40))
    password_sealed: Mapped[str] = sealed(vault.ACCESS)
    starts_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    purchase: Mapped[Purchase] = relationship()

    @property
    def is_open(self) -> bool:
        """Whether there is time left on it; it may not have begun yet."""
        return self.ended_at is None and self.expires_at > clock.now()

    @property
    def has_begun(self) -> bool:
        return self.starts_at <= clock.now()


class DeviceSignIn(TenantOwned, Model, is_paged=False):
    """A user name and password for one device, once, within a minute: made for who has nothing but the device.

    A MAC address is no secret, so it proves no right to the access' own password; this opens the router to that very
    MAC address and to nobody else.
    """

    __tablename__ = "device_sign_ins"
    __table_args__ = (UniqueConstraint("tenant_id", "username"),)

    grant_id: Mapped[int] = mapped_column(ForeignKey("access_grants.id"), index=True)
    mac: Mapped[str] = mapped_column(String(17))
    username: Mapped[str] = mapped_column(String(40))
    password_sealed: Mapped[str] = sealed(vault.ACCESS)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    grant: Mapped[AccessGrant] = relationship()
