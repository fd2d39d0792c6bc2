"""Numbers of invoices and credit notes: a prefix, a number in a row, and a digit that shows mistakes of typing."""

from portal.payments.wallets.accounts import check_digit

INVOICE, CREDIT_NOTE = "INV", "CN"


def of_count(prefix: str, count: int) -> str:
    """The number of this many: `INV10019` is the 1001st. At most nine characters: a payer types it as account."""
    return f"{prefix}{count}{check_digit(str(count))}"
