"""People and programs that sign in."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.db import Model, Row, TenantOwned
from portal.tenants.models import Tenant


class User(Row, Model):
    """A person with a password. Roles are per tenant; a platform administrator stands above them."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(254), unique=True)  # lower case
    name: Mapped[str] = mapped_column(String(80))
    password_hash: Mapped[str] = mapped_column(String(200))
    is_platform_admin: Mapped[bool] = mapped_column(default=False)
    failed_signins: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    session_key: Mapped[str] = mapped_column(String(40))  # changed to end every session of this person
    memberships: Mapped[list["Membership"]] = relationship(back_populates="user", lazy="selectin")

    # What Flask-Login asks of a user.
    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        return f"{self.id}:{self.session_key}"

    def role_in(self, tenant_id: int) -> str | None:
        """This person's role in a tenant, or None."""
        return next((m.role for m in self.memberships if m.tenant_id == tenant_id), None)


class Membership(TenantOwned, Model):
    """One person's role in one tenant: tenant_admin, receptionist, clinician, accountant or patient."""

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("user_id", "tenant_id"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str] = mapped_column(String(20))
    user: Mapped[User] = relationship(back_populates="memberships")
    tenant: Mapped[Tenant] = relationship(lazy="joined")


class ApiKey(TenantOwned, Model):
    """A program of the tenant's own. Only the digest of its key is kept."""

    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(String(60))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    revoked_at: Mapped[datetime | None]
