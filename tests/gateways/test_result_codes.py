"""Every result code says what it means, what the payer can do, and whose turn it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.gateways.result_codes import B2C_RESULT_CODES, LOCKS_INITIATOR, RESULT_CODES, explain, explain_b2c

DO_NOT_PAY = "We are checking with M-Pesa. Do not pay again yet."
DOCUMENTED = (
    "0 1 2 3 4 8 11 17 20 26 1001 1019 1025 9999 1031 1032 1036 1037 2001 2006 2028 2029 4999 8006 SFC_IC0003 E3008"
)


def test_the_whole_documented_table_is_there():
    assert set(RESULT_CODES) == set(DOCUMENTED.split())
    assert all(code == entry.code for table in (RESULT_CODES, B2C_RESULT_CODES) for code, entry in table.items())


@pytest.mark.parametrize("entry", [*RESULT_CODES.values(), *B2C_RESULT_CODES.values()], ids=lambda e: e.code)
def test_each_code_has_words_for_payer_and_staff_and_spells_the_name_right(entry):
    for words in (str(entry.sentence), str(entry.next_step), entry.for_staff):
        assert words.endswith(".") and "MPESA" not in words.upper() and "M-PESA" not in words
    assert entry.retry_after_s >= 0


@pytest.mark.parametrize(
    ("codes", "kind", "sentence"),
    [
        ("1", "declined", "Not enough M-Pesa balance."),
        ("1032", "cancelled", "You cancelled the M-Pesa prompt."),
        ("1037 1036 1019 1031", "declined", "No answer from the phone in time."),
        ("2001", "declined", "Wrong M-Pesa PIN."),
        ("1001", "declined", "Another M-Pesa request is open on this phone."),
        ("8006", "declined", "Your M-Pesa PIN is locked."),
        ("17 26 1025 9999 777 NEW_CODE", "unclear", DO_NOT_PAY),
        ("4999", "pending", "M-Pesa is still working on it. Do not pay again yet."),
        ("0 00000000", "paid", "Paid."),
    ],
)
def test_the_payer_reads_what_to_do(codes, kind, sentence):
    for code in codes.split():
        assert (explain(code).kind, str(explain(code).sentence)) == (kind, sentence)


def test_a_busy_phone_and_a_repeat_wait_as_long_as_m_pesa_asks():
    waits = {code: explain(code).retry_after_s for code in ("1001", "17", "26", "1032", "1")}
    assert waits == {"1001": 120, "17": 120, "26": 60, "1032": 0, "1": 0}


def test_codes_are_compared_as_text_however_they_were_written():
    assert explain(1032) == explain(" 1032 ") == explain("1032")
    assert explain("sfc_ic0003").code == "SFC_IC0003"


@given(st.one_of(st.none(), st.integers(), st.text(max_size=200)))
def test_a_code_that_nobody_knows_never_closes_a_payment(code):
    entry = explain(code)
    assert entry.code in RESULT_CODES or (entry.kind == "unclear" and str(entry.sentence) == DO_NOT_PAY)
    paid_out = explain_b2c(code)
    assert paid_out.code in B2C_RESULT_CODES or paid_out.kind == "unclear"


def test_a_locked_initiator_stops_everything_sent_with_it():
    assert LOCKS_INITIATOR >= {"2001", "8006"}
    assert all("until an administrator looks" in explain_b2c(code).for_staff for code in LOCKS_INITIATOR)


def test_an_overloaded_pay_out_is_asked_about_and_never_sent_again():
    assert "never send again" in explain_b2c("100000003").for_staff and explain_b2c(100000003).kind == "unclear"
