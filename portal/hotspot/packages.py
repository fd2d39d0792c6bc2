"""What is on sale: packages are offered, changed, ordered and withdrawn.

Decided: terms never change in a row, sold or not. A change is a new row that takes over the public id, and the old row
is withdrawn under another: whoever bought, or is buying this moment, has what they were offered. What only says where
and how it is shown (group, order, hidden) changes in place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace

from sqlalchemy import ColumnElement, exists, or_, select, update

from portal.audit import chain
from portal.hotspot.models import Package, PackageSite, Site
from portal.hotspot.terms import Offer as Offer
from portal.kernel import clock
from portal.kernel.db import db, new_uid
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _


def on_sale(
    tenant_id: int, service: str = "hotspot", *, site_id: int | None = None, hidden_uid: str = ""
) -> list[Package]:
    """The packages that are offered to everybody: not hidden, not free; as they are ordered, then cheapest first.

    site_id: those that are valid there; None: where the customer is, is not known.
    hidden_uid: one that is offered though it is hidden, to who was given its address.
    """
    mine = select(Package).where(
        Package.tenant_id == tenant_id,
        Package.service == service,
        Package.withdrawn_at.is_(None),
        or_(Package.is_hidden.is_(False), Package.uid == hidden_uid),
        Package.is_trial.is_(False),
    )
    if site_id is not None:
        mine = mine.where(_is_valid_at(site_id))
    return list(db.session.scalars(mine.order_by(Package.position, Package.price_cents, Package.id)))


def _is_valid_at(site_id: int) -> ColumnElement[bool]:
    of_package = exists().where(PackageSite.package_id == Package.id)
    return ~of_package | of_package.where(PackageSite.site_id == site_id)


def refuse_elsewhere(package: Package, site_id: int | None) -> None:
    """Raises Refused where this package is not valid at the site of its customer. None: that is not known."""
    if site_id is None:
        return
    valid = select(Package.id).where(Package.id == package.id, _is_valid_at(site_id))
    if db.session.scalar(valid) is None:
        raise Refused(_("This package is not valid at this place."), code="not_valid_here")


def every(tenant_id: int, service: str | None = None) -> list[Package]:
    """All of the tenant's packages, newest first."""
    mine = select(Package).where(Package.tenant_id == tenant_id, Package.withdrawn_at.is_(None))
    if service is not None:
        mine = mine.where(Package.service == service)
    return list(db.session.scalars(mine.order_by(Package.id.desc())))


def for_counter(tenant_id: int) -> list[Package]:
    """What is sold by code: all that is paid, hidden or not, but for what is added to another package."""
    mine = select(Package).where(Package.tenant_id == tenant_id, Package.service == "hotspot")
    sold = mine.where(Package.withdrawn_at.is_(None), Package.is_trial.is_(False), Package.is_addon.is_(False))
    return list(db.session.scalars(sold.order_by(Package.position, Package.price_cents, Package.id)))


def for_sale(tenant_id: int, uid: str, *, site_id: int | None = None) -> Package:
    """One package that can be bought, hidden or not. Raises NotFound, and Refused where it is not valid at this site.

    site_id: where the customer is, if that is known.
    """
    package = _own(tenant_id, uid)
    if package is None or package.service != "hotspot" or package.is_trial:
        raise NotFound(_("This package is not for sale here. Choose another one."), code="unknown_package")
    refuse_elsewhere(package, site_id)
    return package


def trial(tenant_id: int, *, site_id: int | None = None) -> Package | None:
    """The free trial that is offered at this site, if one is: the newest. None: where the customer is, is not known."""
    offered = select(Package).where(Package.tenant_id == tenant_id, Package.is_trial, Package.withdrawn_at.is_(None))
    if site_id is not None:
        offered = offered.where(_is_valid_at(site_id))
    return db.session.scalars(offered.order_by(Package.id.desc()).limit(1)).one_or_none()


def get(tenant_id: int, uid: str) -> Package:
    """The tenant's own package, as it is offered now. Raises NotFound."""
    package = _own(tenant_id, uid)
    if package is None:
        raise NotFound(_("There is no such package here."), code="unknown_package")
    return package


def _own(tenant_id: int, uid: str) -> Package | None:
    mine = select(Package).where(Package.tenant_id == tenant_id, Package.uid == uid, Package.withdrawn_at.is_(None))
    return db.session.scalars(mine).one_or_none()


def sites_of(packages: Iterable[Package]) -> dict[int, list[Site]]:
    """The sites that each of these is limited to; none: it is valid at all of them."""
    found: dict[int, list[Site]] = {package.id: [] for package in packages}
    rows = select(PackageSite.package_id, Site).join(Site, Site.id == PackageSite.site_id)
    for package_id, site in db.session.execute(rows.where(PackageSite.package_id.in_(found)).order_by(Site.name)):
        found[package_id].append(site)
    return found


def offer_of(package: Package) -> Offer:
    """A package's terms as they are."""
    columns = {one.name: getattr(package, one.name) for one in fields(Offer) if one.name != "site_uids"}
    return Offer(**columns, site_uids=tuple(site.uid for site in sites_of([package])[package.id]))


def create(tenant_id: int, offer: Offer, *, actor: str) -> Package:
    """Offer a package. Raises Refused for a site of somebody else's. The caller commits."""
    package = _insert(tenant_id, offer, uid=new_uid())
    details = {"price_cents": offer.price_cents}
    chain.record(tenant_id, "package", package.id, "created", actor=actor, details=details)
    return package


def _insert(tenant_id: int, offer: Offer, *, uid: str, position: int = 0) -> Package:
    columns = asdict(offer)
    site_uids = columns.pop("site_uids")
    columns["lifetime_s"] = columns["lifetime_s"] or offer.duration_s
    package = Package(tenant_id=tenant_id, uid=uid, position=position, **columns)
    db.session.add(package)
    db.session.flush()
    wanted = [Site.tenant_id == tenant_id, Site.uid.in_(site_uids), Site.closed_at.is_(None)]
    site_ids = list(db.session.scalars(select(Site.id).where(*wanted)))
    if len(site_ids) != len(site_uids):
        sentence = _("There is no such site here.")
        raise Refused(sentence, code="invalid_fields", fields={"sites": sentence})
    db.session.add_all(PackageSite(tenant_id=tenant_id, package_id=package.id, site_id=one) for one in site_ids)
    db.session.flush()
    return package


def change(tenant_id: int, uid: str, offer: Offer, *, actor: str) -> Package:
    """Offer it under other terms from now on, under the same public id. What was sold keeps its own. Caller commits.

    Raises NotFound, and Refused for a site of somebody else's.
    """
    package = _locked(tenant_id, uid)
    was = offer_of(package)
    shown = replace(was, group_name=offer.group_name, is_hidden=offer.is_hidden)
    if replace(offer, lifetime_s=offer.lifetime_s or offer.duration_s) == shown:
        if shown != was:
            package.group_name, package.is_hidden = offer.group_name, offer.is_hidden
            chain.record(tenant_id, "package", package.id, "changed", actor=actor)
            db.session.flush()
        return package
    package.withdrawn_at, package.uid = clock.now(), new_uid()
    db.session.flush()  # its id is free now
    made = _insert(tenant_id, offer, uid=uid, position=package.position)
    details = {"price_cents": offer.price_cents, "instead_of": package.id}
    chain.record(tenant_id, "package", made.id, "changed", actor=actor, details=details)
    return made


def _locked(tenant_id: int, uid: str) -> Package:
    """The row that has this public id now: another change may have given it to a new one meanwhile."""
    mine = select(Package).where(Package.tenant_id == tenant_id, Package.uid == uid, Package.withdrawn_at.is_(None))
    for _turn in range(3):
        locked = mine.with_for_update(key_share=True).execution_options(populate_existing=True)
        package = db.session.scalars(locked).one_or_none()
        if package is not None:
            return package
    raise NotFound(_("There is no such package here."), code="unknown_package")


def withdraw(tenant_id: int, uid: str, *, actor: str) -> Package:
    """Sell it no more; what was sold runs on. Raises NotFound. The caller commits."""
    package = _locked(tenant_id, uid)
    package.withdrawn_at = clock.now()
    chain.record(tenant_id, "package", package.id, "withdrawn", actor=actor)
    db.session.flush()
    return package


def put_in_order(tenant_id: int, uids: Sequence[str], *, actor: str) -> None:
    """Show these in this order, before all others. The caller commits."""
    db.session.execute(update(Package).where(Package.tenant_id == tenant_id).values(position=len(uids)))
    for position, uid in enumerate(uids):
        mine = update(Package).where(Package.tenant_id == tenant_id, Package.uid == uid)
        db.session.execute(mine.values(position=position))
    chain.record(tenant_id, "package", 0, "ordered", actor=actor)
