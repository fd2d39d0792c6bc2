"""Who works for a tenant: invited, given another role, deactivated. What changes here holds from the next request on.

Decided: an administrator of a tenant may hand out a link to a password only of a person who belongs to this tenant
alone: whoever works elsewhere too, or stands above tenants, would be taken over there by it.
Decided: who was given a role, or chose a password by a link that a colleague handed out, is no second person for a day:
else one administrator makes another, or takes over the other one's account, and approves their own refund by it. In
that day whoever else looks at the people sees it, and the one who was taken over cannot sign in.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.kernel import clock
from portal.kernel.db import db, new_token, owned
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.users import credentials, sessions
from portal.users.models import ApiKey, Membership, User
from portal.users.permissions import OF_ROLE, STAFF_ROLES


class Unproven(Conflict):
    """Another business made this person, and their address never answered a mail: nobody knows yet whose it is."""


APPROVES_AFTER = timedelta(hours=24)
ROLES = (
    "tenant_admin",
    "receptionist",
    "clinician",
    "accountant",
    "seller",
)  # that a page gives; patients come by themselves


def members(tenant_id: int) -> list[Membership]:
    """Everybody who works or worked here, by name; patients are no staff."""
    staff = select(Membership).join(User).where(Membership.tenant_id == tenant_id, Membership.role.in_(STAFF_ROLES))
    return list(db.session.scalars(staff.order_by(User.name, User.id)))


def names_of(user_ids: Iterable[int | None]) -> dict[int, str]:
    """The name of each of these people, by id; None stands for nobody."""
    wanted = {user_id for user_id in user_ids if user_id is not None}
    named = select(User.id, User.name).where(User.id.in_(wanted))
    return {row.id: row.name for row in db.session.execute(named)} if wanted else {}


def member(tenant_id: int, membership_id: int) -> Membership:
    """One of them. Raises NotFound, for patients too."""
    found = owned(Membership, tenant_id, id=membership_id)
    if found.role not in STAFF_ROLES:
        raise NotFound("There is no such person here.")
    return found


def invite(tenant_id: int, *, email: str, name: str, role: str, actor: str) -> User:
    """Somebody new here; who is known by this address already keeps their password. The caller commits.

    Raises Conflict where they work here already; Unproven where a link must be mailed to them first. Who works
    elsewhere by another tenant's word alone keeps their password there: no stranger's invitation locks them out.
    """
    _refuse_unknown(role)
    user = credentials.by_email(email)
    if user is None:
        user = credentials.add_user(
            email=email, name=name, password=new_token()
        )  # that nobody knows: a link comes first
        user.is_proven = False
    known = select(Membership.id).where(Membership.tenant_id == tenant_id, Membership.user_id == user.id)
    if db.session.scalar(known) is not None:
        raise Conflict("This person belongs to this business already.", fields={"email": "Belongs here already."})
    if not user.is_proven and _works_elsewhere(user, tenant_id):
        raise Unproven("This person must choose a password by a mailed link first.")
    _join(user, tenant_id, role, actor=actor)
    return user


def give_role(user: User, tenant_id: int, role: str, *, actor: str) -> None:
    """This role from now on, in place of any other they had here. The caller commits."""
    _refuse_unknown(role)
    mine = select(Membership).where(Membership.tenant_id == tenant_id, Membership.user_id == user.id)
    membership = db.session.scalars(mine.with_for_update(of=Membership)).one_or_none()
    if membership is None:
        _join(user, tenant_id, role, actor=actor)
        return
    before = "deactivated" if membership.deactivated_at else membership.role
    membership.role, membership.deactivated_at = role, None
    membership.approves_from = clock.now() + APPROVES_AFTER
    db.session.flush()
    chain.record(tenant_id, "user", user.id, "role_changed", actor=actor, old=before, new=role)


def _join(user: User, tenant_id: int, role: str, *, actor: str) -> None:
    """A role in one more tenant. What another tenant's administrator holds of this person must not open ours.

    Links that were handed out end; and a person whom a tenant made, and whose address never answered a mail, may be
    that tenant's own invention with a password of its choosing: it ends too, and a mailed link gives a new one.
    """
    if _works_elsewhere(user, tenant_id):
        if not user.is_proven:
            user.password_hash = credentials.hash_of(new_token())
            db.session.flush()
        sessions.end_all(user)
    credentials.add_role(user, tenant_id, role).approves_from = clock.now() + APPROVES_AFTER
    chain.record(tenant_id, "user", user.id, "role_given", actor=actor, new=role)


def _works_elsewhere(user: User, tenant_id: int) -> bool:
    elsewhere = select(Membership.id).where(Membership.user_id == user.id, Membership.tenant_id != tenant_id).limit(1)
    return db.session.scalar(elsewhere) is not None


def chose_by_handed_link(user_id: int) -> None:
    """Whoever handed the link out may have chosen this person's password. The caller commits."""
    mine = update(Membership).where(Membership.user_id == user_id)
    db.session.execute(mine.values(approves_from=clock.now() + APPROVES_AFTER))
    db.session.get_one(User, user_id).is_proven = False


def approves_from(tenant_id: int, user_id: int) -> datetime | None:
    """From when this person may approve what a colleague asked for; None where it is so already."""
    mine = select(Membership.approves_from).where(Membership.tenant_id == tenant_id, Membership.user_id == user_id)
    since = db.session.scalar(mine)
    return since if since is not None and since > clock.now() else None


def deactivate(membership: Membership, *, actor: str) -> None:
    """They do nothing here from the next request on. The caller commits."""
    changed = update(Membership).where(Membership.id == membership.id, Membership.deactivated_at.is_(None))
    result = db.session.execute(changed.values(deactivated_at=clock.now()))
    if result.rowcount == 1:  # type: ignore[attr-defined]
        who, role = membership.user_id, membership.role
        chain.record(membership.tenant_id, "user", who, "deactivated", actor=actor, old=role, new="deactivated")


def deactivate_everywhere(user: User, *, actor: str) -> None:
    """This person signs in nowhere any more, and is signed out now. The caller commits."""
    for membership in user.memberships:
        chain.record(membership.tenant_id, "user", user.id, "deactivated", actor=actor, old=membership.role)
    user.deactivated_at = clock.now()
    db.session.flush()
    sessions.end_all(user)


def activate_again(user: User, *, actor: str) -> None:
    """They may sign in again, with the roles they had. The caller commits."""
    user.deactivated_at = None
    db.session.flush()
    for membership in user.memberships:
        chain.record(membership.tenant_id, "user", user.id, "activated", actor=actor, new=membership.role)


def is_ours_alone(user: User, tenant_id: int) -> bool:
    """Whether this person belongs to this tenant and to nothing else, deactivated roles counted too."""
    elsewhere = select(func.count()).where(Membership.user_id == user.id, Membership.tenant_id != tenant_id)
    return not user.is_platform_admin and user.role_in(tenant_id) is not None and not db.session.scalar(elsewhere)


def api_keys(tenant_id: int) -> list[ApiKey]:
    """The tenant's programs, newest first."""
    return list(db.session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.id.desc())))


def revoke_key(tenant_id: int, key_id: int, *, actor: str) -> ApiKey:
    """That program's key opens nothing from the next request on. The caller commits. Raises NotFound."""
    key = owned(ApiKey, tenant_id, id=key_id)
    if key.revoked_at is None:
        key.revoked_at = clock.now()
        db.session.flush()
        chain.record(tenant_id, "api_key", key.id, "revoked", actor=actor, old=key.name[:40])
    return key


def _refuse_unknown(role: str) -> None:
    if role not in set(OF_ROLE) - {"api_key"}:
        raise Refused("There is no such role.", fields={"role": "Unknown."})
