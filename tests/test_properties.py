"""Which of the numbered correctness properties have a test, and which do not yet."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
MARK = re.compile(r"pytest\.mark\.property\((\d+)\)")
PAYMENTS = {*range(7, 32), *range(51, 60), *range(71, 77)}
# Not proved by a test of ours, each with what stands in its place.
WITHOUT_A_TEST = {
    44: "TLS ends at the reverse proxy; the product refuses http:// public addresses in production and sets HSTS",
    52: "delivery to the phone within 10 s is Safaricom's; we send within the 3 s of properties 8 and 51",
}


def proved() -> set[int]:
    return {int(n) for file in TESTS.rglob("test_*.py") for n in MARK.findall(file.read_text())}


def test_every_payment_property_has_a_test_or_a_reason() -> None:
    missing = PAYMENTS - proved() - set(WITHOUT_A_TEST)
    assert not missing, f"no test is marked for the properties {sorted(missing)}"


def test_no_mark_names_a_property_that_does_not_exist() -> None:
    assert proved() <= set(range(1, 83))
