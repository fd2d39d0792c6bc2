"""M-Pesa's messages to customers, worded and punctuated as in real messages of 2024 to 2026."""

from datetime import datetime

from portal.kernel import clock

_PAYBILL_TAIL = " Save frequent paybills for quick payment on M-PESA app https://bit.ly/mpesalnk"
_TILL_TAIL = " Save frequent Tills for quick payment on M-PESA app https://bit.ly/mpesalnk"
_REFUSALS = {
    "C2B00011": "The phone number was not accepted.",
    "C2B00012": "The account number is not valid.",
    "C2B00013": "The amount is not valid.",
    "C2B00014": "Your details could not be confirmed.",
    "C2B00015": "The business number is not valid.",
}


def ksh(amount_cents: int) -> str:
    """`Ksh2,850.00`."""
    return f"Ksh{amount_cents // 100:,}.{amount_cents % 100:02d}"


def when(at: datetime) -> str:
    """`21/11/26 at 9:30 AM`, Nairobi time, no leading zeros."""
    local = clock.nairobi(at)
    hour = local.hour % 12 or 12
    return f"{local.day}/{local.month}/{local.year % 100:02d} at {hour}:{local.minute:02d} {local:%p}"


def paid_paybill(
    receipt: str,
    *,
    amount_cents: int,
    business: str,
    account: str,
    at: datetime,
    balance_cents: int,
    left_cents: int,
) -> str:
    """A payment to a paybill: no stop after the time, none before Amount."""
    return (
        f"{receipt} Confirmed. {ksh(amount_cents)} sent to {business} for account {account} on {when(at)}"
        f" New M-PESA balance is {ksh(balance_cents)}. Transaction cost, Ksh0.00."
        f"Amount you can transact within the day is {ksh(left_cents)[3:]}.{_PAYBILL_TAIL}"
    )


def paid_till(
    receipt: str, *, amount_cents: int, business: str, at: datetime, balance_cents: int, left_cents: int
) -> str:
    """A payment to a till: a stop after the name, none after the time's space."""
    return (
        f"{receipt} Confirmed. {ksh(amount_cents)} paid to {business}. on {when(at)}."
        f"New M-PESA balance is {ksh(balance_cents)}. Transaction cost, Ksh0.00."
        f" Amount you can transact within the day is {ksh(left_cents)[3:]}.{_TILL_TAIL}"
    )


def received(receipt: str, *, amount_cents: int, business: str, at: datetime, balance_cents: int) -> str:
    """Money from an organisation (B2C)."""
    return (
        f"Congratulations! {receipt} confirmed.You have received {ksh(amount_cents)} from {business}."
        f" on {when(at)}."
        f"New M-PESA balance is {ksh(balance_cents)}. Separate personal and business"
        " funds through Pochi la Biashara"
        " on *334#."
    )


def reversed_payment(receipt: str, *, original: str, amount_cents: int, at: datetime, balance_cents: int) -> str:
    """Money that came back; the double spaces are M-Pesa's."""
    day, _, time = when(at).partition(" at ")
    return (
        f"{receipt} confirmed. Reversal of transaction {original} has been successfully"
        f" reversed  on {day}  at {time}"
        f" and {ksh(amount_cents)} is credited to your M-PESA account."
        f" New M-PESA account balance is {ksh(balance_cents)}."
    )


def no_funds(*, amount_cents: int, business: str, balance_cents: int) -> str:
    """Not enough money."""
    return (
        "Failed. You do not have enough money in your M-PESA account to pay"
        f" {ksh(amount_cents)} to {business}."
        f" Your M-PESA balance is {ksh(balance_cents)}.  Dial *334# to register for the"
        " M-PESA overdraw Services Fuliza."
    )


def wrong_pin() -> str:
    """The PIN was wrong."""
    return "Failed. You have entered the wrong PIN. Please try again or dial *334# to get a new PIN."


def refused(*, amount_cents: int, business: str, account: str, code: str) -> str:
    """The organisation refused the payment. No real text of this kind is known; the wording is ours."""
    reason = _REFUSALS.get(code, "The business did not accept the payment.")
    for_account = f" for account {account}" if account else ""
    return f"Failed. {ksh(amount_cents)} was not sent to {business}{for_account}. {reason}"
