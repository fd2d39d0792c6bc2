"""What M-Pesa sends us, read into values: STK callbacks, C2B, results, timeouts, pulled rows.

Nothing here trusts its input: whatever the body, the answer is a dataclass or `Malformed`, whose text names
what was wrong. Money is integer cents, times are aware UTC, text is safe to store. That a message can be read
does not make it true: M-Pesa signs nothing, so who sent it, and whether we asked, is decided by the caller.
Source: Safaricom's Daraja documentation and callbacks captured between 2017 and 2024.
"""

from portal.gateways.messages.answers import (
    AccountBalance,
    ApiResult,
    TimeoutNotice,
    parse_balances,
    parse_result,
    parse_timeout,
)
from portal.gateways.messages.c2b import C2bPayment, parse_c2b
from portal.gateways.messages.fields import MAX_BODY_BYTES, MAX_DEPTH, Body, Malformed, key_of, read_json
from portal.gateways.messages.payer import PayerId, payer_id, payer_matches
from portal.gateways.messages.pulled import PulledTransaction, parse_pulled
from portal.gateways.messages.stk import StkCallback, parse_stk_callback
from portal.gateways.messages.typed import looks_like_receipt, normalise_account, receipt_date

__all__ = [
    "AccountBalance",
    "ApiResult",
    "Body",
    "C2bPayment",
    "MAX_BODY_BYTES",
    "MAX_DEPTH",
    "Malformed",
    "PayerId",
    "PulledTransaction",
    "StkCallback",
    "TimeoutNotice",
    "key_of",
    "looks_like_receipt",
    "normalise_account",
    "parse_balances",
    "parse_c2b",
    "parse_pulled",
    "parse_result",
    "parse_stk_callback",
    "parse_timeout",
    "payer_id",
    "payer_matches",
    "read_json",
    "receipt_date",
]
