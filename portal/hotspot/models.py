"""Packages, what was bought, and the access it opened."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.kernel import clock, vault
from portal.kernel.db import BigId, Model, TenantOwned, new_token, new_uid, sealed
from portal.kernel.due import Due
from portal.payments.models import Payment

TO_BEGIN = Due("access_grants", None, ("is_waiting",))
TO_PROVISION = Due("access_grants", "provision_at", ("provision_at IS NOT NULL",))


class Package(TenantOwned, Model):
    """Internet for sale. What was sold refers to its row, so a row that was sold never changes its terms.

    service: hotspot or pppoe. kind: what is used up: time (from the purchase on), online (time online), data, or mixed
    (time and data). duration_s: the time that is sold; lifetime_s: how long after it was opened it ends, whatever is
    left; online_s: the time online, where that is what is sold. rate: RouterOS' form, upload/download with burst, such
    as `2M/5M`. No cap: NULL. at_cap: what happens at a data cap, stop or throttle (to throttled_rate). price_cents is
    zero for a trial alone. is_addon: data that is added to the pass that runs, without moving its end.
    """

    __tablename__ = "packages"
    __table_args__ = (
        CheckConstraint("price_cents > 0 OR is_trial", name="price_positive"),
        CheckConstraint("duration_s > 0", name="duration_positive"),
        CheckConstraint("lifetime_s > 0", name="lifetime_positive"),
        CheckConstraint("service IN ('hotspot', 'pppoe')", name="service"),
        CheckConstraint("kind IN ('time', 'online', 'data', 'mixed')", name="kind"),
        CheckConstraint("at_cap IN ('stop', 'throttle')", name="at_cap"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    service: Mapped[str] = mapped_column(String(10), default="hotspot")
    kind: Mapped[str] = mapped_column(String(10), default="time")
    name: Mapped[str] = mapped_column(String(60))
    group_name: Mapped[str] = mapped_column(String(40), default="")
    position: Mapped[int] = mapped_column(default=0)
    price_cents: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[int] = mapped_column(BigInteger)
    lifetime_s: Mapped[int] = mapped_column(BigInteger)
    online_s: Mapped[int | None] = mapped_column(BigInteger)
    rate: Mapped[str] = mapped_column(String(60), default="")
    data_cap_bytes: Mapped[int | None] = mapped_column(BigInteger)
    daily_cap_bytes: Mapped[int | None] = mapped_column(BigInteger)
    at_cap: Mapped[str] = mapped_column(String(10), default="stop")
    throttled_rate: Mapped[str] = mapped_column(String(60), default="")
    devices: Mapped[int] = mapped_column(default=1)
    is_trial: Mapped[bool] = mapped_column(default=False)
    is_addon: Mapped[bool] = mapped_column(default=False)
    is_hidden: Mapped[bool] = mapped_column(default=False)
    withdrawn_at: Mapped[datetime | None]

    @property
    def speed(self) -> str:
        """`5 Mbps` of the rate's download half; what a burst adds is not said."""
        down = self.rate.partition(" ")[0].rsplit("/", 1)[-1]
        units = {"M": "Mbps", "k": "kbps", "G": "Gbps"}
        return f"{down[:-1]} {units[down[-1]]}" if down[-1:] in units else down


class Site(TenantOwned, Model):
    """A place where internet is sold, and the router that lets people in there.

    kind: how the router learns who may pass: radius (it asks FreeRADIUS), routeros (we write to its API), opennds (it
    asks us), or voucher (nobody tells it; codes are brought in by hand). address: where its packets come from and our
    orders go to, in the management network. secret: its RADIUS secret, readable because FreeRADIUS reads it here.
    login_hosts: the only hosts, by blanks, that its login form may be on, or codes would leak. token: in addresses that
    only this router is told. last_seen_at: of its last heartbeat; with it came router_version, clock_skew_s
    (how far its clock is ahead of ours) and tunnel_key, the public key of the tunnel that it made itself.
    expired_pool: the address pool and list of who is let in to pay and nowhere else (PPPoE).
    """

    __tablename__ = "sites"
    __table_args__ = (
        CheckConstraint("kind IN ('radius', 'routeros', 'opennds', 'voucher')", name="kind"),
        Index(
            "uq_sites_name",
            "tenant_id",
            "name",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "uq_sites_radius_address",
            "address",
            unique=True,
            sqlite_where=text("kind = 'radius' AND closed_at IS NULL"),
            postgresql_where=text("kind = 'radius' AND closed_at IS NULL"),
        ),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    name: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(10), default="radius")
    identity: Mapped[str] = mapped_column(String(60), default="")
    address: Mapped[str] = mapped_column(String(45), default="")
    secret: Mapped[str] = mapped_column(String(64), default="")
    coa_port: Mapped[int] = mapped_column(default=3799)
    expired_pool: Mapped[str] = mapped_column(String(40), default="expired")
    login_hosts: Mapped[str] = mapped_column(Text, default="")
    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    api_port: Mapped[int] = mapped_column(default=8729)
    api_uses_tls: Mapped[bool] = mapped_column(default=True)
    api_username: Mapped[str] = mapped_column(String(60), default="")
    api_password_sealed: Mapped[str | None] = sealed(vault.ACCESS)
    router_version: Mapped[str] = mapped_column(String(40), default="")
    clock_skew_s: Mapped[int | None]
    tunnel_key: Mapped[str] = mapped_column(String(44), default="")
    last_seen_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    @property
    def api_password(self) -> str:
        """The password of its RouterOS API, or an empty text."""
        kept = self.api_password_sealed
        return vault.unseal(kept, context=vault.context(vault.ACCESS, self.tenant_id)) if kept else ""

    @api_password.setter
    def api_password(self, password: str) -> None:
        self.api_password_sealed = vault.seal(password, context=vault.context(vault.ACCESS, self.tenant_id))


class PackageSite(TenantOwned, Model, is_paged=False):
    """Where a package is sold and valid; a package without any row is valid at all of its tenant's sites."""

    __tablename__ = "package_sites"
    __table_args__ = (UniqueConstraint("package_id", "site_id"),)

    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"), index=True)


class Purchase(TenantOwned, Model, is_paged=False):
    """One package being bought by one device; where to send it afterwards.

    `browser_hash`: of the id in the cookie of the browser that began it, which proves that it is the same one again.
    `nas_address` is the router's address; `client_ip` the device's own, as the router wrote it. switches_now: it begins
    at once, and what runs of the same payer's goes on after it. gift_phone: whom it is bought for, if for another.
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
    switches_now: Mapped[bool] = mapped_column(default=False)
    gift_phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    gift_phone_hash: Mapped[str | None] = mapped_column(String(64))
    payment: Mapped[Payment] = relationship()
    package: Mapped[Package] = relationship()


class AccessGrant(TenantOwned, Model, is_paged=False):
    """A username and password that open the internet between `starts_at` and `expires_at`. At most one a purchase.

    It starts when what ran on the same device before it is over; one that is paused for another starts when that is
    over, so a pass runs while one of its open grants has begun. leader_id: the grant that it continues, its own id
    where it continues none: the same package bought again by the same number for the same device is one pass of several
    grants, whose ends follow on each other and whose caps add up, and each user name of it opens the whole pass.
    password: readable, because FreeRADIUS has to know it for CHAP; random and short-lived. mac: the device that it is
    used on now. origin: purchase, voucher (voucher_id), trial, gift or staff. ended_at: closed before its time, because
    its money was taken back or never came. provision_at: since when routers have to be told of it; None: there is
    nothing to tell.
    """

    __tablename__ = "access_grants"
    __table_args__ = (
        UniqueConstraint("tenant_id", "username"),
        Index("ix_access_grants_leader", "leader_id"),
        Index("ix_access_grants_device", "tenant_id", "mac", "expires_at"),
        Index("ix_access_grants_owner", "tenant_id", "phone_hash", "expires_at"),
        Index(
            "ix_access_grants_ends",
            "expires_at",
            sqlite_where=text("purchase_id IS NOT NULL AND ended_at IS NULL"),
            postgresql_where=text("purchase_id IS NOT NULL AND ended_at IS NULL"),
        ),
        TO_PROVISION.index("ix_access_grants_provision"),
        TO_BEGIN.index("ix_access_grants_to_begin"),
    )

    purchase_id: Mapped[int | None] = mapped_column(ForeignKey("purchases.id"), unique=True)
    voucher_id: Mapped[int | None] = mapped_column(BigId, unique=True)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    leader_id: Mapped[int | None] = mapped_column(BigId)
    origin: Mapped[str] = mapped_column(String(10), default="purchase")
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    mac: Mapped[str] = mapped_column(String(17), default="")
    username: Mapped[str] = mapped_column(String(40))
    password: Mapped[str] = mapped_column(String(40))
    starts_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    is_waiting: Mapped[bool] = mapped_column(default=False)  # for its beginning, when routers are told once more
    suspended_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    provision_at: Mapped[datetime | None] = mapped_column(default=clock.now)
    purchase: Mapped[Purchase | None] = relationship()
    package: Mapped[Package] = relationship()

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
    password: Mapped[str] = mapped_column(String(40))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    grant: Mapped[AccessGrant] = relationship()


class AccessSession(TenantOwned, Model, is_paged=False):
    """One stay online of one device, as the router accounts for it. FreeRADIUS writes it, or who asks the router.

    accounting_id: what makes it one, over all routers. grant_id: of the pass (its leader), NULL for who is online
    without one. Octets are counted from the customer: in is what they sent. updated_at: when the router last told of
    it; an open session that it stops telling of is over. bytes_before_today: of its octets, those that had been counted
    when the day of `updated_at` began in East Africa. is_walled: let in to pay, and nowhere else. capped_at: when
    it was noticed that its pass had used up what it allows.
    """

    __tablename__ = "access_sessions"
    __table_args__ = (
        Index("ix_access_sessions_tenant", "tenant_id", "started_at"),
        Index("ix_access_sessions_grant", "grant_id", "started_at"),
        Index(
            "ix_access_sessions_open",
            "grant_id",
            sqlite_where=text("stopped_at IS NULL"),
            postgresql_where=text("stopped_at IS NULL"),
        ),
        Index(
            "ix_access_sessions_open_device",
            "tenant_id",
            "mac",
            sqlite_where=text("stopped_at IS NULL"),
            postgresql_where=text("stopped_at IS NULL"),
        ),
        Index(
            "ix_access_sessions_open_site",
            "site_id",
            "updated_at",
            sqlite_where=text("stopped_at IS NULL"),
            postgresql_where=text("stopped_at IS NULL"),
        ),
    )

    uid: Mapped[str] = mapped_column(String(32), default="")
    accounting_id: Mapped[str] = mapped_column(String(64), unique=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    grant_id: Mapped[int | None] = mapped_column(ForeignKey("access_grants.id"))
    username: Mapped[str] = mapped_column(String(64))
    session_id: Mapped[str] = mapped_column(String(64), default="")
    mac: Mapped[str] = mapped_column(String(17), default="")
    ip: Mapped[str] = mapped_column(String(45), default="")
    called_station: Mapped[str] = mapped_column(String(64), default="")
    nas_port: Mapped[str] = mapped_column(String(64), default="")
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    online_s: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_in: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_out: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_before_today: Mapped[int] = mapped_column(BigInteger, default=0)
    is_walled: Mapped[bool] = mapped_column(default=False)
    capped_at: Mapped[datetime | None]
    end_cause: Mapped[str] = mapped_column(String(40), default="")


class SignInRefusal(TenantOwned, Model, is_paged=False):
    """How often RADIUS refused sign-ins at one site, in one window of ten minutes. FreeRADIUS counts here.

    about, subject: of the whole site (site, empty), of one device (device, its MAC address) or of one user name (name).
    guesses: those that had a wrong name or password. username, mac, reason: of the last one.
    """

    __tablename__ = "sign_in_refusals"
    __table_args__ = (
        UniqueConstraint("site_id", "window_at", "about", "subject"),
        CheckConstraint("about IN ('site', 'device', 'name')", name="about"),
        Index("ix_sign_in_refusals_window", "window_at"),
    )

    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    window_at: Mapped[datetime]
    about: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(64))
    refusals: Mapped[int] = mapped_column(default=1)
    guesses: Mapped[int] = mapped_column(default=0)
    username: Mapped[str] = mapped_column(String(64), default="")
    mac: Mapped[str] = mapped_column(String(17), default="")
    reason: Mapped[str] = mapped_column(String(20), default="")


class DeviceHold(TenantOwned, Model, is_paged=False):
    """A place of a pass that RADIUS gave to a device, which its router has not told a stay of yet.

    FreeRADIUS writes the row, and a trigger lets it pass only while fewer than `places` other devices of the pass are
    online or hold one: of those that come at the same instant, as many get in as there are places. held_at: it counts
    for seconds from then on, or until a stay is told of. given_up_at: when its pass moved on to another device; the
    stay that it had then takes no place, for its router tells of that one's end late or never.
    """

    __tablename__ = "device_holds"
    __table_args__ = (UniqueConstraint("leader_id", "mac"), Index("ix_device_holds_held", "held_at"))

    leader_id: Mapped[int] = mapped_column(ForeignKey("access_grants.id"))
    mac: Mapped[str] = mapped_column(String(17))
    places: Mapped[int]
    held_at: Mapped[datetime]
    given_up_at: Mapped[datetime | None]


TO_BRING_ABOUT = Due("provisionings", "next_at", ("next_at IS NOT NULL",))


class Provisioning(TenantOwned, Model):
    """What one router has to know of one grant: wanted, told, and read back from it.

    wanted: on or off. since: when that, or anything of it, last changed. next_at: its next turn: to be tried (again),
    or to begin or end with its pass; None: nothing to come. version counts what was wanted, so that an answer to
    something older changes nothing. confirmed_at: when the router was read and had it so. signed_in_at: when its device
    was signed in by us.
    """

    __tablename__ = "provisionings"
    __table_args__ = (
        UniqueConstraint("site_id", "grant_id"),
        CheckConstraint("wanted IN ('on', 'off')", name="wanted"),
        TO_BRING_ABOUT.index("ix_provisionings_due"),
        Index(
            "ix_provisionings_unconfirmed",
            "tenant_id",
            "since",
            sqlite_where=text("confirmed_at IS NULL"),
            postgresql_where=text("confirmed_at IS NULL"),
        ),
        Index(
            "ix_provisionings_on",
            "site_id",
            sqlite_where=text("wanted = 'on'"),
            postgresql_where=text("wanted = 'on'"),
        ),
        Index(
            "ix_provisionings_site",
            "site_id",
            sqlite_where=text("next_at IS NOT NULL"),
            postgresql_where=text("next_at IS NOT NULL"),
        ),
    )

    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    grant_id: Mapped[int] = mapped_column(ForeignKey("access_grants.id"), index=True)
    wanted: Mapped[str] = mapped_column(String(5))
    version: Mapped[int] = mapped_column(default=1)
    since: Mapped[datetime] = mapped_column(default=clock.now)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None] = mapped_column(default=clock.now)
    last_error: Mapped[str] = mapped_column(String(300), default="")
    confirmed_at: Mapped[datetime | None]
    signed_in_at: Mapped[datetime | None]
