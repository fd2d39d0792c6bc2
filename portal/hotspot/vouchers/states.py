"""What a voucher can be: made -> sold -> redeemed; else expired, or void: before or after."""

from enum import StrEnum

from portal.kernel.states import Graph


class VoucherState(StrEnum):
    MADE = "made"
    SOLD = "sold"
    REDEEMED = "redeemed"
    VOID = "void"
    EXPIRED = "expired"


VOUCHER = Graph(
    {
        VoucherState.MADE: {VoucherState.SOLD, VoucherState.REDEEMED, VoucherState.VOID, VoucherState.EXPIRED},
        VoucherState.SOLD: {VoucherState.REDEEMED, VoucherState.VOID, VoucherState.EXPIRED},
        VoucherState.REDEEMED: {VoucherState.VOID},
        VoucherState.VOID: (),
        VoucherState.EXPIRED: (),
    }
)
REDEEMABLE = frozenset({VoucherState.MADE, VoucherState.SOLD})
