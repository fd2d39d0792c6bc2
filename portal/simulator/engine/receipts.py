"""Numbers that M-Pesa gives: receipts and the ids of requests, in the forms captured from Daraja."""

import secrets
import string
from datetime import datetime, timedelta

from portal.kernel import clock
from portal.simulator.engine.store import Store

_ALPHABET = string.ascii_uppercase + string.digits
_DAYS = "123456789" + string.ascii_uppercase


def date_letters(at: datetime) -> str:
    """Year, month and day of a receipt: `UIT` is 29 September 2026. Source: 72 of 75 dated receipts."""
    local = clock.nairobi(at)
    year = string.ascii_uppercase[(local.year - 2006) % 26]
    return year + string.ascii_uppercase[local.month - 1] + _DAYS[local.day - 1]


def next_receipt(store: Store) -> str:
    """A receipt number that no transaction has."""
    while True:
        receipt = date_letters(store.now()) + "".join(secrets.choice(_ALPHABET) for _ in range(7))
        if store.one("SELECT 1 FROM transactions WHERE receipt = ?", receipt) is None:
            return receipt


def filler_receipt(at: datetime) -> str:
    """What Daraja writes where there is no transaction: `OAK0000000`."""
    return date_letters(at) + "0000000"


def request_id() -> str:
    """`f1e2-4b95-a71d-b30d3cdbb7a7942864`: MerchantRequestID and its like."""
    parts = (secrets.token_hex(2), secrets.token_hex(2), secrets.token_hex(2), secrets.token_hex(5))
    return "-".join(parts) + str(secrets.randbelow(9_000_000) + 1_000_000)


def conversation_id(at: datetime) -> str:
    """`AG_20240706_20106e9209f64bebd05b`."""
    return f"AG_{clock.nairobi(at):%Y%m%d}_2010{secrets.token_hex(8)}"


def checkout_request_id(store: Store, *, msisdn: str) -> str:
    """`ws_CO_` + DDMMYYYYHHmmss and milliseconds in Nairobi + the payer's last nine digits; unused so far."""
    at = store.now()
    while True:
        local = clock.nairobi(at)
        made = f"ws_CO_{local:%d%m%Y%H%M%S}{local.microsecond // 1000:03d}{msisdn[-9:]}"
        if store.one("SELECT 1 FROM pushes WHERE checkout_request_id = ?", made) is None:
            return made
        at += timedelta(milliseconds=1)
