"""Money: integer KES cents inside, whole shillings at Daraja's edge, `KES 1,500` for people.

Never floats: a JSON number is read as Decimal, and everything that reaches the database is cents.
"""

from decimal import Decimal

from portal.kernel.errors import Refused, Sentence

CENTS = 100
MOST_CENTS = 10**15
DEFAULT_PUSH_LIMIT_CENTS = 250_000 * CENTS  # Safaricom's per-transaction ceiling; a tenant may set its own


def cents(value: object) -> int:
    """Exact cents of `1500`, `"1500.00"`, `1500.0` or Decimal. Raises Refused where there are none.

    Source: Daraja writes amounts as 1, 1.0, "5.00" and 168.00; reference of the same name.
    """
    if isinstance(value, bool) or value is None or "_" in str(value):
        raise Refused(_not_a_number(value), code="invalid_amount")
    try:
        amount = Decimal(str(value).strip().replace(",", ""))
        scaled = amount * CENTS
        is_exact = scaled.is_finite() and abs(scaled) <= MOST_CENTS and scaled == scaled.to_integral_value()
    except ArithmeticError:  # not a number, a signalling one, or one with a monstrous exponent
        raise Refused(_not_a_number(str(value)[:40]), code="invalid_amount") from None
    if not is_exact:
        raise Refused(
            Sentence(
                "The amount %(given)s is not in shillings and cents. Write it like 1500 or 1500.50.",
                given=str(value)[:40],
            ),
            code="invalid_amount",
        )
    return int(scaled)


def _not_a_number(value: object) -> Sentence:
    return Sentence("The amount %(given)r is not a number. Write it like 1500.", given=value)


def shillings(amount_cents: int) -> int:
    """Whole shillings for Daraja. Raises Refused if there are cents: M-Pesa cannot ask for them."""
    whole, rest = divmod(amount_cents, CENTS)
    if rest:
        raise Refused(
            Sentence("%(amount)s has cents; M-Pesa takes whole shillings.", amount=format_kes(amount_cents)),
            code="invalid_amount",
        )
    return whole


def payable_cents(value: object, *, limit_cents: int = DEFAULT_PUSH_LIMIT_CENTS) -> int:
    """Cents of an amount that M-Pesa can ask for: whole shillings from 1 to the limit. Raises Refused."""
    amount = cents(value)
    if amount <= 0:
        raise Refused(Sentence("The amount must be at least KES 1."), code="invalid_amount")
    if amount % CENTS:
        raise Refused(
            Sentence("M-Pesa takes whole shillings: %(amount)s has cents. Round it.", amount=format_kes(amount)),
            code="invalid_amount",
        )
    if amount > limit_cents:
        raise Refused(
            Sentence(
                "%(amount)s is over the limit of %(limit)s for one M-Pesa payment. Pay it in parts.",
                amount=format_kes(amount),
                limit=format_kes(limit_cents),
            ),
            code="invalid_amount",
        )
    return amount


def kes(amount_cents: int) -> int | float:
    """The JSON API's number: `1500` or `1500.5`."""
    whole, rest = divmod(amount_cents, CENTS)
    return whole if not rest else float(Decimal(amount_cents) / CENTS)


def format_kes(amount_cents: int) -> str:
    """`KES 1,500`, with cents only where there are some: `KES 1,500.50`."""
    sign, rest = ("-" if amount_cents < 0 else ""), abs(amount_cents)
    return f"{sign}KES {rest // CENTS:,}" + (f".{rest % CENTS:02d}" if rest % CENTS else "")
