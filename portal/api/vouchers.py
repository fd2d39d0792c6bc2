"""Vouchers, for the staff of a hotspot."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body, principal, read_cursor, text_of
from portal.api.schemas import contract, page_of
from portal.hotspot import packages
from portal.hotspot.vouchers import batches
from portal.hotspot.vouchers.models import Voucher, VoucherBatch
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.users.permissions import WORK_HOTSPOT


def register_routes(router: Router) -> None:
    router.add("GET", "/vouchers", list_vouchers, who=WORK_HOTSPOT)
    router.add("POST", "/vouchers", make_vouchers, who=WORK_HOTSPOT)


def to_json(voucher: Voucher, batch_uid: str | None) -> dict[str, Any]:
    """A voucher. Its code is user name and password in one."""
    return {
        "id": voucher.uid,
        "code": voucher.code,
        "state": voucher.state,
        "packageId": voucher.package.uid,
        "batchId": batch_uid,
        "createdAt": clock.rfc3339(voucher.created_at),
        "expiresAt": clock.rfc3339(voucher.expires_at),
        "redeemedAt": clock.rfc3339(voucher.redeemed_at) if voucher.redeemed_at else None,
    }


@contract(page_of("Voucher"), query=("cursor",))
def list_vouchers() -> ResponseReturnValue:
    """Vouchers, newest first."""
    items, cursor = batches.page(principal().tenant_id, before_id=read_cursor())
    wanted = VoucherBatch.id.in_({one.batch_id for one in items if one.batch_id})
    uids = dict(db.session.query(VoucherBatch.id, VoucherBatch.uid).filter(wanted).all())
    return jsonify(items=[to_json(one, uids.get(one.batch_id or 0)) for one in items], nextCursor=cursor)


@contract("VoucherBatch", takes="NewVouchers", answers=(201,))
def make_vouchers() -> ResponseReturnValue:
    """Make vouchers for a package: codes that each open it once."""
    asking, given = principal(), body()
    count = batches.read_count(given.get("count", 1))
    with transaction():
        package = packages.for_sale(asking.tenant_id, text_of(given, "packageId"))
        batch = batches.make(package, count, actor=asking.actor, note=text_of(given, "note", required=False))
        made = [to_json(one, batch.uid) for one in batches.vouchers_of(batch)]
        answer = {"id": batch.uid, "batchId": batch.uid, "items": made}
    return jsonify(answer), 201
