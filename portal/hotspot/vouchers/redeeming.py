"""A code becomes a pass: once, whoever comes at the same moment."""

from portal.hotspot import access, packages
from portal.hotspot.models import AccessGrant
from portal.hotspot.places import Bid
from portal.hotspot.vouchers import batches
from portal.hotspot.vouchers.states import REDEEMABLE, VoucherState
from portal.kernel import clock
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move


class Used(Refused):
    """This code opens nothing any more."""

    code = "voucher_over"


def redeem(
    tenant_id: int, typed: str, *, mac: str = "", browser_hash: str = "", site_id: int | None = None
) -> AccessGrant:
    """The access that this code opens: made now, from now on, or found again. The caller commits.

    site_id: where its holder is, if that is known. Raises NotFound for no code of ours, which is a guess to be counted,
    Used where it is void, expired or over, and Refused where its package is not valid: its time begins elsewhere.
    """
    voucher = batches.get(tenant_id, typed)
    if voucher.state in REDEEMABLE and voucher.expires_at > clock.now():
        packages.refuse_elsewhere(voucher.package, site_id)
        if move(voucher, VoucherState.REDEEMED, redeemed_at=clock.now()):
            bid = Bid(tenant_id, voucher.package, mac=mac, browser_hash=browser_hash)
            return access.issue(
                bid, origin="voucher", actor="voucher", username=voucher.code, password=voucher.code,
                voucher_id=voucher.id,
            )  # fmt: skip
        voucher = batches.get(tenant_id, typed)  # somebody else came first
    if voucher.state == VoucherState.REDEEMED and (opened := batches.grant_of(voucher)):
        if opened.is_open:
            return opened
        raise Used(_("The time of this code is over."))
    if voucher.state == VoucherState.VOID:
        raise Used(_("This code was taken back. Ask where you bought it."))
    if voucher.state == VoucherState.REDEEMED:
        raise NotFound(_("There is no such code here. Check each letter."), code="unknown_voucher")
    raise Used(_("This code was not used in time. Ask where you bought it."))
