"""Money, phones, time and the vault: plain values with properties."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.kernel import clock, money, vault
from portal.kernel.errors import Misconfigured, Refused
from portal.kernel.phone import for_people, mask, normalise_msisdn
from portal.web.home import readable

MSISDNS = st.from_regex(r"254[17][0-9]{8}", fullmatch=True)


@pytest.mark.property(7)
@given(MSISDNS)
def test_every_form_a_kenyan_writes_is_one_number(msisdn: str) -> None:
    local = "0" + msisdn[3:]
    for form in (
        msisdn,
        "+" + msisdn,
        local,
        local[1:],
        for_people(msisdn),
        f" {local[:4]}-{local[4:7]}.{local[7:]} ",
    ):
        assert normalise_msisdn(form) == msisdn


@pytest.mark.property(7)
@given(st.text(max_size=20))
def test_no_other_text_is_a_number(text: str) -> None:
    try:
        found = normalise_msisdn(text)
    except Refused as error:
        assert "0712 345 678" in str(error)
    else:
        assert found.startswith(("2547", "2541")) and len(found) == 12 and found.isascii() and found.isdecimal()


@pytest.mark.property(47)
@given(MSISDNS)
def test_a_masked_number_keeps_four_digits(msisdn: str) -> None:
    assert mask(msisdn) == "********" + msisdn[-4:]


@given(st.integers(-(10**13), 10**13))
def test_cents_survive_every_way_they_are_written(cents: int) -> None:
    assert (
        money.cents(f"{cents // 100}.{cents % 100:02d}" if cents >= 0 else f"-{-cents // 100}.{-cents % 100:02d}")
        == cents
    )
    assert money.cents(money.format_kes(cents).replace("KES ", "")) == cents


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.text(max_size=12),
        st.floats(),
        st.binary(max_size=4),
        st.lists(st.integers(), max_size=2),
    )
)
def test_what_is_no_amount_is_refused_with_a_sentence(value: object) -> None:
    try:
        assert isinstance(money.cents(value), int)
    except Refused as error:
        assert error.code == "invalid_amount" and len(str(error)) > 10


@pytest.mark.parametrize("value", [0, -1, 1.5, 250_001, "0.99"])
def test_what_m_pesa_cannot_ask_for_is_refused(value: object) -> None:
    with pytest.raises(Refused):
        money.payable_cents(value)


@given(st.datetimes(datetime(2007, 1, 1), datetime(2090, 1, 1)))
def test_darajas_time_comes_back(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    assert clock.parse_daraja_timestamp(clock.daraja_timestamp(at)) == at


@pytest.mark.property(45)
@given(st.text(max_size=200))
def test_what_is_sealed_opens_only_with_its_key_in_its_place(text: str) -> None:
    ring, other = vault.KeyRing("b:" + "bb" * 32 + ",a:" + "aa" * 32), vault.KeyRing("c:" + "cc" * 32)
    sealed = ring.seal(text, "gateway.passkey/1")
    assert ring.unseal(sealed, "gateway.passkey/1") == text and (len(text) < 4 or text not in sealed)
    for strange, context in ((ring, "gateway.passkey/2"), (other, "gateway.passkey/1")):
        with pytest.raises(vault.CannotOpen):
            strange.unseal(sealed, context)
    old = vault.KeyRing("a:" + "aa" * 32)
    assert ring.unseal(old.seal(text, "x"), "x") == text, "a rotated ring opens what the old key sealed"


def test_what_a_phone_is_found_by_is_the_same_before_and_after_a_new_first_key() -> None:
    """tests.md W2: hashed under the newest key, no customer would be found after a rotation."""
    old, rotated = vault.KeyRing("a:" + "aa" * 32), vault.KeyRing("b:" + "bb" * 32 + ",a:" + "aa" * 32)
    again = vault.KeyRing("c:" + "cc" * 32 + ",b:" + "bb" * 32 + ",a:" + "aa" * 32)
    found_by = {ring.lookup("254712345678", "phone/1") for ring in (old, rotated, again)}
    assert len(found_by) == 1 and rotated.current == "b"
    assert old.lookup("254712345678", "phone/1") != old.lookup("254712345678", "phone/2")
    assert vault.KeyRing("a:" + "ab" * 32).lookup("254712345678", "phone/1") not in found_by


def test_two_seals_of_one_text_differ_and_its_lookup_is_the_same() -> None:
    ring = vault.KeyRing("a:" + "aa" * 32)
    assert ring.seal("x", "c") != ring.seal("x", "c") and ring.lookup("x", "c") == ring.lookup("x", "c") != ring.lookup(
        "x", "d"
    )


@pytest.mark.parametrize("keys", ["", "a", "a:zz", "a:" + "aa" * 31, "a b:" + "aa" * 32])
def test_a_bad_key_ring_is_refused_at_start(keys: str) -> None:
    with pytest.raises(Misconfigured, match="PORTAL_DATA_KEYS"):
        vault.KeyRing(keys)


@given(st.from_regex(r"#[0-9a-f]{6}", fullmatch=True))
def test_a_tenants_colour_is_darkened_until_white_text_can_be_read(colour: str) -> None:
    red, green, blue = (int(readable(colour)[i : i + 2], 16) for i in (1, 3, 5))

    def linear(part: int) -> float:
        return part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4

    luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    assert 1.05 / (luminance + 0.05) >= 4.49
