"""Numbers that want no reminders: what they bought and owe is still told, what they did not ask for is not."""

from sqlalchemy import delete, select

from portal.kernel.db import db, upsert_nothing
from portal.notifications.models import QuietPhone


def is_quiet(tenant_id: int, phone_hash: str | None) -> bool:
    """Whether this number is reminded of nothing."""
    mine = select(QuietPhone.id).where(QuietPhone.tenant_id == tenant_id, QuietPhone.phone_hash == phone_hash)
    return phone_hash is not None and db.session.scalar(mine) is not None


def set_quiet(tenant_id: int, phone_hash: str, *, is_quiet: bool) -> None:
    """Remember it, or forget it. The caller commits."""
    if is_quiet:
        one = upsert_nothing(
            QuietPhone, unique=["tenant_id", "phone_hash"], tenant_id=tenant_id, phone_hash=phone_hash
        )  # fmt: skip
        db.session.execute(one)
    else:
        db.session.execute(
            delete(QuietPhone).where(QuietPhone.tenant_id == tenant_id, QuietPhone.phone_hash == phone_hash)
        )
