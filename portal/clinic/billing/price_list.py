"""The price list: what a clinic sells beside its visits, by kind.

Decided: a price is never changed in place: the line is withdrawn and a new one takes its place, so that an invoice
that names it says for ever what it cost.
"""

from sqlalchemy import select

from portal.audit import chain
from portal.clinic.models import PriceItem
from portal.kernel import clock, money
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused, Text
from portal.kernel.errors import Sentence as _

KINDS = ("consultation", "lab", "medication", "other")
LONGEST_NAME, MOST_ITEMS = 200, 500


def items(tenant_id: int) -> list[PriceItem]:
    """What is on the list now, by kind and name."""
    mine = select(PriceItem).where(PriceItem.tenant_id == tenant_id, PriceItem.withdrawn_at.is_(None))
    found = db.session.scalars(mine.order_by(PriceItem.id).limit(MOST_ITEMS)).all()
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.name.casefold()))


def item(tenant_id: int, uid: str) -> PriceItem:
    """One line of it, withdrawn or not. Raises NotFound."""
    mine = select(PriceItem).where(PriceItem.tenant_id == tenant_id, PriceItem.uid == uid)
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("There is no such price here."))
    return found


def add(tenant_id: int, *, kind: object, name: object, price: object, actor: str) -> PriceItem:
    """A new line. price: KES, whole shillings. The caller commits. Raises Refused with every field at fault."""
    wrong: dict[str, Text] = {}
    called = " ".join(str(name or "").replace("\0", "").split())
    if kind not in KINDS:
        wrong["kind"] = _("Choose a kind.")
    if not called or len(called) > LONGEST_NAME:
        wrong["name"] = _("Enter a name of at most 200 characters.")
    price_cents = 0
    try:
        price_cents = money.payable_cents(price)
    except Refused as error:
        wrong["price"] = error.message
    if wrong:
        raise Refused(_("The price is not complete."), code="invalid_fields", fields=wrong)
    if len(items(tenant_id)) >= MOST_ITEMS:
        raise Conflict(_("The list is full. Take old prices off it."))
    made = PriceItem(tenant_id=tenant_id, kind=str(kind), name=called, price_cents=price_cents)
    db.session.add(made)
    db.session.flush()
    details = {"amount_cents": price_cents}
    chain.record(tenant_id, "price_item", made.id, "added", actor=actor, new=called, details=details)
    return made


def withdraw(found: PriceItem, *, actor: str) -> None:
    """Take it off the list; invoices that name it keep it. The caller commits."""
    if found.withdrawn_at is None:
        found.withdrawn_at = clock.now()
        chain.record(found.tenant_id, "price_item", found.id, "withdrawn", actor=actor, old=found.name)


def change(found: PriceItem, *, name: object, price: object, actor: str) -> PriceItem:
    """Another name or price: a new line takes the old one's place. The caller commits. Raises Refused, Conflict."""
    if found.withdrawn_at is not None:
        raise Conflict(_("Somebody changed this price just now. Look at the list again."))
    withdraw(found, actor=actor)
    return add(found.tenant_id, kind=found.kind, name=name, price=price, actor=actor)
