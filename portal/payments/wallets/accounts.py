"""Account numbers of customers: `C`, a number in a row, and a digit that shows mistakes of typing.

Decided: Damm's check digit, instead of Luhn's: it shows every single wrong digit and every two that changed places,
which are nearly all mistakes that people make; so a slip pays into nobody else's wallet but waits to be placed.
"""

# Damm's quasigroup of order 10 (H. M. Damm, 2004).
_NEXT = (
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
)  # fmt: skip


def check_digit(digits: str) -> str:
    """The digit to put behind these, such as `4` behind `572`."""
    interim = 0
    for digit in digits:
        interim = int(_NEXT[interim][int(digit)])
    return str(interim)


def of_number(number: int) -> str:
    """The account number of the customer with this number, such as `C10019`."""
    return f"C{number}{check_digit(str(number))}"


def may_mean(account_number: str) -> set[str]:
    """What somebody may have typed who meant this account: parts of it, and the usual slips in writing it."""
    digits = account_number.removeprefix("C")
    return {digits, digits[:-1], f"C{digits[:-1]}", f"C{digits[:-1]} {digits[-1]}", f"ACC{digits}", f"A{digits}"}
