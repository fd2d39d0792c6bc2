"""Customers as staff and the tenant's own programs see them: found, added, and what their wallets hold."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select

from portal.audit import chain
from portal.gateways import messages
from portal.kernel import personal
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.phone import normalise_msisdn
from portal.ledger import post
from portal.ledger.models import Journal, Line
from portal.payments.models import Customer, CustomerWord, Transaction
from portal.payments.wallets import wallets

PAGE_ROWS, MOST_WORDS = 50, 5


def by_uid(tenant_id: int, uid: str) -> Customer:
    """One customer, by id or account number. Raises NotFound."""
    called = uid if uid.isprintable() else ""
    found = db.session.scalars(
        select(Customer).where(
            Customer.tenant_id == tenant_id,
            or_(Customer.uid == called, Customer.account_number == messages.normalise_account(called)),
        )
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such customer here."), code="unknown_customer")
    return found


def page(tenant_id: int, words: str = "", *, before_id: int | None = None) -> tuple[list[Customer], str | None]:
    """(customers newest first, cursor of the next page or None). words: a phone or account number, or a name."""
    found = select(Customer).where(Customer.tenant_id == tenant_id)
    if words.strip():
        found = found.where(_is_called(tenant_id, words))
    if before_id is not None:
        found = found.where(Customer.id < before_id)
    rows = list(db.session.scalars(found.order_by(Customer.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None


def owners_of(items: list[Transaction]) -> dict[str, str]:
    """Into whose wallet each of these went, by uid and the customer's uid: the ledger knows."""
    if not items:
        return {}
    mine = (Customer.tenant_id == items[0].tenant_id, Customer.account_number.in_({one.account for one in items}))
    by_account = {one.account_number: one for one in db.session.scalars(select(Customer).where(*mine))}
    may_be = {f"{one.uid}/{by_account[one.account].id}": one for one in items if one.account in by_account}
    credited = select(Journal.reference).where(
        Journal.tenant_id == items[0].tenant_id, Journal.kind == "credited", Journal.reference.in_(may_be)
    )
    into = {may_be[reference] for reference in db.session.scalars(credited)}
    return {one.uid: by_account[one.account].uid for one in into}


def _is_called(tenant_id: int, words: str) -> ColumnElement[bool]:
    account = Customer.account_number == messages.normalise_account(words if words.isprintable() else "")
    try:
        return or_(account, Customer.phone_hash == personal.phone_hash(normalise_msisdn(words), tenant_id))
    except Refused:
        return or_(account, _is_named(tenant_id, words))


def _is_named(tenant_id: int, words: str) -> ColumnElement[bool]:
    """Those whose name has each of these words, whole, in any order and case."""
    named = []
    for word_hash in sorted(personal.word_hashes(words, tenant_id))[:MOST_WORDS]:
        mine = (CustomerWord.tenant_id == tenant_id, CustomerWord.word_hash == word_hash)
        named.append(Customer.id.in_(select(CustomerWord.customer_id).where(*mine)))
    return and_(*named)


def add(tenant_id: int, *, name: str, msisdn: str, actor: str) -> tuple[Customer, bool]:
    """(the customer with this phone, whether they are new). A name that was not known is kept. The caller commits."""
    known = wallets.find_by_phone(tenant_id, msisdn)
    if known is not None:
        if known.name_sealed is None:
            known.name_sealed = personal.seal_text(name, tenant_id)
            wallets.name_words(known, name)
        return known, False
    made = wallets.customer_of_phone(tenant_id, msisdn, name=name)
    chain.record(tenant_id, "customer", made.id, "added", actor=actor, new=made.account_number)
    return made, True


def balances(tenant_id: int, environment: str, customers: list[Customer]) -> dict[int, int]:
    """Cents in each of these wallets, by customer id, in one query."""
    owners = {post.wallet(one.id): one.id for one in customers}
    sums = (
        select(Line.account, func.sum(Line.amount_cents))
        .join(Journal)
        .where(
            Line.tenant_id == tenant_id,
            Journal.environment == environment,
            Line.account.in_(list(owners)),
        )
        .group_by(Line.account)
    )
    held = dict.fromkeys(owners.values(), 0)
    return held | {owners[account]: -int(cents) for account, cents in db.session.execute(sums).all()}


@dataclass(frozen=True)
class Entry:
    """One movement of a wallet. kind: credited, wallet_paid, voided, reversed. Cents: into the wallet positive."""

    kind: str
    at: datetime
    amount_cents: int


def entries(customer: Customer, environment: str, *, limit: int = 50) -> list[Entry]:
    """The newest movements of a wallet."""
    rows = (
        select(Journal.kind, Journal.occurred_at, Line.amount_cents)
        .select_from(Line)
        .join(Journal)
        .where(
            Line.tenant_id == customer.tenant_id,
            Journal.environment == environment,
            Line.account == post.wallet(customer.id),
        )
        .order_by(Line.id.desc())
        .limit(limit)
    )
    return [Entry(kind, at, -cents) for kind, at, cents in db.session.execute(rows).all()]
