"""People and programs that sign in."""

from datetime import UTC, datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.kernel.db import Model, Row, TenantOwned
from portal.tenants.models import Tenant


class User(Row, Model):
    """A person with a password. Roles are per tenant; a platform administrator stands above them."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(254), unique=True)  # lower case
    name: Mapped[str] = mapped_column(String(80))
    password_hash: Mapped[str] = mapped_column(String(200))
    is_platform_admin: Mapped[bool] = mapped_column(default=False)
    is_proven: Mapped[bool] = mapped_column(
        default=True
    )  # the password is not of a tenant's making: made by the operator, or by a mailed link
    deactivated_at: Mapped[datetime | None]
    session_key: Mapped[str] = mapped_column(String(40))  # changed to end every session and token of this person
    # Those that count: a deactivated one is no role, wherever roles are looked up.
    memberships: Mapped[list["Membership"]] = relationship(
        primaryjoin="and_(User.id == Membership.user_id, Membership.deactivated_at.is_(None))",
        lazy="selectin",
        viewonly=True,
    )

    # What Flask-Login asks of a user.
    is_authenticated = True
    is_active = True
    is_anonymous = False
    session_token = ""  # of the session that this request came in
    seen_at = datetime.min.replace(tzinfo=UTC)  # when that session was last written down as used

    def get_id(self) -> str:
        return self.session_token

    def role_in(self, tenant_id: int) -> str | None:
        """This person's role in a tenant, or None."""
        return next((m.role for m in self.memberships if m.tenant_id == tenant_id), None)


class SignIn(Row, Model):
    """One session of a browser: it ends when its row goes, whatever cookie somebody copied.

    session_key: the person's when it began; once theirs has changed, this session is over.
    """

    __tablename__ = "sign_ins"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # of the random token in the cookie
    session_key: Mapped[str] = mapped_column(String(40))
    seen_at: Mapped[datetime]


class Membership(TenantOwned, Model):
    """One person's role in one tenant: tenant_admin, receptionist, clinician, accountant, seller or patient."""

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("user_id", "tenant_id"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str] = mapped_column(String(20))
    deactivated_at: Mapped[datetime | None]
    approves_from: Mapped[datetime | None]  # before it, a colleague's refund has no second person in this one
    user: Mapped[User] = relationship()
    tenant: Mapped[Tenant] = relationship(lazy="joined")


class ApiKey(TenantOwned, Model):
    """A program of the tenant's own. Only the digest of its key is kept."""

    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(String(60))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    revoked_at: Mapped[datetime | None]
