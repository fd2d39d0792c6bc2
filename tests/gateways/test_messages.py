"""Whatever arrives, the parsers give a value or Malformed."""

import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.gateways.messages import (
    Malformed,
    PayerId,
    looks_like_receipt,
    normalise_account,
    parse_balances,
    parse_c2b,
    parse_pulled,
    parse_result,
    parse_stk_callback,
    parse_timeout,
    payer_id,
    payer_matches,
    read_json,
    receipt_date,
)

SUCCESS = {
    "Body": {
        "stkCallback": {
            "MerchantRequestID": "f1e2-4b95-a71d-b30d3cdbb7a71224224",
            "CheckoutRequestID": "ws_CO_12082024103757041712345678",
            "ResultCode": 0,
            "ResultDesc": "The service request is processed successfully.",
            "CallbackMetadata": {
                "Item": [
                    {"Name": "Amount", "Value": 1.0},
                    {"Name": "MpesaReceiptNumber", "Value": "SHC7S6SHXP"},
                    {"Name": "Balance"},
                    {"Name": "TransactionDate", "Value": 20240812103801},
                    {"Name": "PhoneNumber", "Value": 254712345678},
                ]
            },
        }
    }
}
C2B = {
    "TransactionType": "Pay Bill", "TransID": "RKL51ZDR4F", "TransTime": "20231121121325",
    "TransAmount": "5.00",
    "BusinessShortCode": "600966", "BillRefNumber": " inv-42 ", "InvoiceNumber": None,
    "OrgAccountBalance": "25.00", "ThirdPartyTransID": "", "MSISDN": "2547 ***** 126", "FirstName": "JOHN",
    "MiddleName": "", "LastName": "",
}  # fmt: skip
RESULT = {
    "Result": {
        "ResultType": 0, "ResultCode": "0", "ResultDesc": "The service request is processed successfully.",
        "OriginatorConversationID": "53e3-4aa8", "ConversationID": "AG_20240706_2010364430d9bbdaf872",
        "TransactionID": "SG632NMUAB",
        "ResultParameters": {
            "ResultParameter": [
                {"Key": "TransactionAmount", "Value": 10},
                {"Key": "TransactionCompletedDateTime", "Value": "06.07.2024 22:48:52"},
                {"Key": "B2CUtilityAccountAvailableFunds", "Value": 8959269.60},
                {"Key": "Finalized Time", "Value": 20240706224852},
                {"Key": "DebitPartyName", "Value": "254712345678 - JOHN DOE"},
                {"Key": "DebitPartyName", "Value": "again"},
                {"Key": "Reason"},
            ]
        },
        "ReferenceData": {"ReferenceItem": {"Key": "QueueTimeoutURL", "Value": "https://example.org/"}},
    }
}  # fmt: skip


def stk(**changes):
    callback = {**SUCCESS["Body"]["stkCallback"], **changes}
    return {"Body": {"stkCallback": {name: value for name, value in callback.items() if value is not ...}}}


def items(**values):
    return {"Item": [{"Name": name, "Value": value} for name, value in values.items()]}


# ---- STK callbacks


def test_a_captured_success_is_read_in_cents_and_utc():
    callback = parse_stk_callback(json.dumps(SUCCESS).encode())
    assert callback.is_success and callback.amount_cents == 100 and callback.receipt == "SHC7S6SHXP"
    assert callback.occurred_at == datetime(2024, 8, 12, 7, 38, 1, tzinfo=UTC)
    assert callback.msisdn == "254712345678" and "712345678" not in repr(callback)


def test_a_cancelled_prompt_has_no_money_in_it():
    callback = parse_stk_callback(stk(ResultCode=1032, ResultDesc="Request cancelled by user", CallbackMetadata=...))
    assert (callback.result_code, callback.amount_cents, callback.receipt) == ("1032", None, None)


@pytest.mark.parametrize("code", ["SFC_IC0003", "E3008", " 1032 ", 1032, Decimal("1032.0")])
def test_codes_come_as_numbers_or_words(code):
    assert parse_stk_callback(stk(ResultCode=code)).result_code == str(code).strip().removesuffix(".0")


@pytest.mark.parametrize("amount", ["1", 1, 1.0, "1.00", Decimal("1.00")])
def test_one_shilling_is_a_hundred_cents_however_it_is_written(amount):
    assert parse_stk_callback(stk(CallbackMetadata=items(Amount=amount))).amount_cents == 100


@pytest.mark.parametrize("amount", [0, -5, "0.00", "ten", True, "NaN", "sNaN", "1e999999", 1.005, [1], {}])
def test_a_success_over_no_money_is_malformed(amount):
    with pytest.raises(Malformed, match="Amount"):
        parse_stk_callback(stk(CallbackMetadata=items(Amount=amount)))


@pytest.mark.parametrize("phone", ["254712***678", "2547XXXXX678", None, "", 12])
def test_a_masked_phone_is_no_phone(phone):
    assert parse_stk_callback(stk(CallbackMetadata=items(Amount=1, PhoneNumber=phone))).msisdn is None


def test_balance_as_text_and_a_single_item_as_an_object_are_taken():
    balance = "{Amount={CurrencyCode=KES, MinimumAmount=618683, BasicAmount=6186.83}}"
    assert parse_stk_callback(stk(CallbackMetadata=items(Amount=5, Balance=balance))).amount_cents == 500
    assert parse_stk_callback(stk(CallbackMetadata={"Item": {"Name": "Amount", "Value": 5}})).amount_cents == 500
    assert parse_stk_callback(stk(CallbackMetadata=[items(Amount=5)])).amount_cents == 500


def test_a_receipt_is_trimmed_and_upper_cased_and_a_wrong_one_refused():
    read = parse_stk_callback(stk(CallbackMetadata=items(Amount=1, MpesaReceiptNumber=" shc7s6shxp ")))
    assert read.receipt == "SHC7S6SHXP"
    with pytest.raises(Malformed, match="MpesaReceiptNumber"):
        parse_stk_callback(stk(CallbackMetadata=items(Amount=1, MpesaReceiptNumber="SHC7'--")))


def test_two_different_amounts_in_one_callback_are_malformed():
    twice = {"Item": [{"Name": "Amount", "Value": 1}, {"Name": "Amount", "Value": 1000}]}
    with pytest.raises(Malformed, match="twice"):
        parse_stk_callback(stk(CallbackMetadata=twice))


def test_a_date_that_no_calendar_has_is_left_out():
    for moment in (20241399103801, "00010101000000", "soon", -1, 10**50):
        assert parse_stk_callback(stk(CallbackMetadata=items(Amount=1, TransactionDate=moment))).occurred_at is None


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"Body": None}, {"Body": []}, {"Body": {"stkCallback": "x"}}, stk(CheckoutRequestID=...),
        stk(CheckoutRequestID=""), stk(CheckoutRequestID="a\x00b"), stk(CheckoutRequestID="x" * 200),
        stk(CheckoutRequestID={"a": 1}), stk(ResultCode=...), stk(ResultCode=None), stk(ResultCode=True),
        stk(ResultCode=[0]), stk(ResultCode="0; DROP"), stk(CallbackMetadata="x"),
        stk(CallbackMetadata={"Item": ["x"]}),
    ],
)  # fmt: skip
def test_other_shapes_are_malformed(broken):
    with pytest.raises(Malformed):
        parse_stk_callback(broken)


# ---- the body itself


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": NaN}', "not a number"),
        (b'{"a": Infinity}', "not a number"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": {"a": 1, "a": 1}}', "twice"),
        (b'{"a":' * 13 + b"1" + b"}" * 13, "nested"),
        (b'{"a":' * 12 + b"1" + b"}" * 12, "nested"),
        (b'{"a":[' * 6 + b"1" + b"]}" * 6, "nested"),
        (b"[" * 60_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": "' + b"x" * 65_536 + b'"}', "over 65536"),
        ('{"a": "' + "€" * 30_000 + '"}', "over 65536"),
        ({"a": float("nan")}, "infinite"),
        ({"a": [Decimal("sNaN")]}, "infinite"),
    ],
)
def test_a_bad_body_is_named(body, reason):
    with pytest.raises(Malformed, match=reason):
        read_json(body)


def test_many_brackets_side_by_side_and_eleven_within_each_other_are_read():
    assert read_json(b'{"a": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}') == {"a": [{}] * 13}
    deep = read_json(b'{"a":' * 11 + b"7" + b"}" * 11)
    for _level in range(11):
        deep = deep["a"]
    assert deep == 7


def test_text_is_safe_for_any_database():
    payment = parse_c2b(json.dumps({**C2B, "FirstName": "JO\x00HN\ud800", "BillRefNumber": "A\x00B"}))
    assert payment.first_name == "JO HN" and payment.account == "A B"
    payment.first_name.encode()


# ---- C2B


def test_a_confirmation_is_read_with_the_account_as_it_was_typed():
    payment = parse_c2b(C2B)
    assert (payment.receipt, payment.amount_cents, payment.shortcode) == ("RKL51ZDR4F", 500, "600966")
    assert payment.account == " inv-42 " and normalise_account(payment.account) == "INV42"
    assert payment.payer == PayerId("masked", "2547 ***** 126") and payment.org_balance_cents == 2500
    assert payment.occurred_at == datetime(2023, 11, 21, 9, 13, 25, tzinfo=UTC)
    assert "JOHN" not in repr(payment) and "126" not in repr(payment)


def test_numbers_for_texts_and_a_till_with_empty_fields_are_taken():
    till = {
        **C2B,
        "TransAmount": 100,
        "BusinessShortCode": 6009661,
        "BillRefNumber": None,
        "MSISDN": 254712345678,
    }
    payment = parse_c2b({**till, "OrgAccountBalance": "", "TransTime": 20231121121325})
    assert (payment.amount_cents, payment.shortcode, payment.account) == (10_000, "6009661", "")
    assert payment.payer == PayerId("full", "254712345678") and payment.org_balance_cents is None


@pytest.mark.parametrize(
    "change",
    [
        {"TransAmount": "0"}, {"TransAmount": "-5.00"}, {"TransAmount": None}, {"TransAmount": "5.001"},
        {"TransID": ""}, {"TransID": "SHORT"}, {"TransID": None}, {"BusinessShortCode": "abc"},
        {"BusinessShortCode": None},
    ],
)  # fmt: skip
def test_a_confirmation_without_money_receipt_or_shortcode_is_malformed(change):
    with pytest.raises(Malformed):
        parse_c2b({**C2B, **change})


# ---- who paid


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("254712345678", "full"), ("+254 712 345 678", "full"), (722000000, "full"), ("0110123456", "full"),
        ("2547 ***** 126", "masked"), ("254708***126", "masked"), ("2547XXXXX126", "masked"),
        ("0712***678", "masked"),
        ("a" * 64, "hashed"), ("0" * 40, "hashed"), ("", "missing"), (None, "missing"), ("JOHN", "missing"),
        ("****", "missing"), ("123", "missing"), ({}, "missing"),
    ],
)  # fmt: skip
def test_the_payer_is_classified(text, kind):
    assert payer_id(text).kind == kind


def test_a_payer_is_compared_only_as_far_as_m_pesa_says_who_it_was():
    mine, other = "254708374126", "254799374126"
    hashed = payer_id(hashlib.sha256(mine.encode()).hexdigest().upper())
    assert payer_matches(hashed, mine) is True and payer_matches(hashed, other) is False
    for masked in ("254708***126", "25470****126", "2547 ***** 126", "2547**126", "0708***126", "708***126"):
        assert payer_matches(payer_id(masked), mine) is True, masked
    assert payer_matches(payer_id("254708***126"), other) is False
    assert payer_matches(payer_id("254712345678"), mine) is False
    for nothing in ("", "254*********", "a" * 50):
        assert payer_matches(payer_id(nothing), mine) is None


@given(st.from_regex(r"254[17][0-9]{8}", fullmatch=True), st.integers(1, 8), st.integers(4, 9))
def test_a_number_always_fits_its_own_mask(msisdn, hidden, start):
    masked = msisdn[:start] + "*" * len(msisdn[start : start + hidden]) + msisdn[start + hidden :]
    assert payer_matches(payer_id(masked), msisdn) is True


# ---- results, timeouts, balances, pull


def test_a_result_is_found_by_any_spelling_of_its_keys():
    result = parse_result(RESULT)
    assert result.is_success and result.transaction_id == "SG632NMUAB" and result.cents("TransactionAmount") == 1000
    assert result.instant("TransactionCompletedDateTime") == datetime(2024, 7, 6, 19, 48, 52, tzinfo=UTC)
    assert result.instant("FinalisedTime") == result.instant("finalizedTime") == result.instant("Finalised Time")
    assert result.cents("B2CUtilityAccountAvailableFunds") == 895_926_960
    assert result.text("DebitPartyName") == "254712345678 - JOHN DOE" and result.text("Reason") == ""
    assert result.reference == {"queuetimeouturl": "https://example.org/"} and result.cents("Nothing") is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"ResultParameter": {"Key": "Amount", "Value": "300"}},
        {"ResultParameter": [{"Key": "Amount", "Value": "300"}]},
        [{"ResultParameter": [{"Key": "Amount", "Value": 300}]}],
        [{"Key": "Amount", "Value": 300}, {"Key": "B", "Value": 1}],
    ],
)
def test_parameters_may_be_one_or_many(parameters):
    one = {"Result": {**RESULT["Result"], "ResultParameters": parameters}}
    assert parse_result(one).cents("Amount") == 30_000


def test_a_failed_result_has_a_code_and_no_parameters():
    failed = {k: v for k, v in RESULT["Result"].items() if k not in ("ResultParameters", "ReferenceData")}
    result = parse_result({"Result": [{**failed, "ResultCode": "R000002"}]})
    assert result.result_code == "R000002" and not result.is_success and result.parameters == {}


def test_a_result_without_any_id_is_malformed():
    with pytest.raises(Malformed, match="ConversationID"):
        parse_result({"Result": {"ResultCode": 0}})


@pytest.mark.parametrize(
    "body",
    [
        {"ConversationID": "AG_1", "OriginatorConversationID": "o-1"},
        {"Result": {"Conversation ID": "AG_1", "OriginatorCoversationID": "o-1"}},
        {"result": [{"conversationId": "AG_1", "originatorConversationId": "o-1"}], "x": 1},
    ],
)
def test_a_timeout_is_found_by_its_ids_wherever_they_stand(body):
    notice = parse_timeout(body)
    assert (notice.conversation_id, notice.originator_conversation_id) == ("AG_1", "o-1")


def test_balances_are_split_and_a_misprint_is_left_out():
    working, charges = parse_balances(
        "Working Account|KES|700000.00|700000.00|0.00|0.008&Charges Paid Account|KES|-1540.00|x&&rubbish"
    )
    assert (working.account, working.current_cents, working.uncleared_cents) == (
        "Working Account",
        70_000_000,
        None,
    )
    assert (charges.current_cents, charges.available_cents, charges.reserved_cents) == (-154_000, None, None)


def test_pulled_rows_are_flattened_and_the_unreadable_are_counted():
    row = {
        "transactionId": "yzlyrEsRG1", "trxDate": "2020-08-05T10:13:00Z", "msisdn": 722000000,
        "sender": "UAT2",
        "billreference": "37207636392", "amount": "168.00", "transactiontype": "c2b-pay-bill-debit",
    }  # fmt: skip
    rows, unreadable = parse_pulled([[row], [[{**row, "trxDate": "2020-08-05 10:13:00"}, {"amount": "x"}, "y"]]])
    assert unreadable == 2 and [one.amount_cents for one in rows] == [16_800, 16_800]
    assert rows[0].receipt == "YZLYRESRG1" and rows[0].payer == PayerId("full", "254722000000")
    assert rows[0].occurred_at == datetime(2020, 8, 5, 10, 13, tzinfo=UTC)
    assert rows[1].occurred_at == datetime(2020, 8, 5, 7, 13, tzinfo=UTC)
    assert parse_pulled("[[]]") == parse_pulled(None) == ([], 0) and parse_pulled("{") == ([], 1)


# ---- receipts and accounts


def test_a_receipt_spells_its_day():
    assert receipt_date("UIT5K2M9QX") == date(2026, 9, 29)
    assert receipt_date(" tadbs0o71r ") == date(2025, 1, 13)
    assert receipt_date("SLVYYYZOCM") == date(2024, 12, 31)
    for unspelt in ("DZ12GX874", "QMZ1234567", "SBV1234567", "", None, "UI05K2M9QX"):
        assert receipt_date(unspelt) is None, unspelt


def test_receipts_are_told_from_fillers_and_words():
    assert looks_like_receipt(" uit5k2m9qx ") and looks_like_receipt("UGFDLBNAZK")
    for other in ("OAK0000000", "1IT5K2M9QX", "UIT5K2M9Q", "UIT5K2M9QXX", "", None, "UIT5K 2M9Q"):
        assert not looks_like_receipt(other)


def test_an_account_is_compared_without_its_decoration():
    assert normalise_account(" inv-00_42 / a.b:c# ") == "INV0042ABC"


# ---- anything at all

_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
_values = st.one_of(_anything, st.sampled_from([0, "0", 1032, "1032", "5.00", 5, "SHC7S6SHXP", "ws_CO_1"]))


def _ends_well(parse, body):
    try:
        parse(body)
    except Malformed as error:
        assert error.reason


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200), _anything))
def test_no_body_makes_a_parser_fail_otherwise(body):
    for parse in (parse_stk_callback, parse_c2b, parse_result, parse_timeout):
        _ends_well(parse, body)
    parse_pulled(body)
    payer_id(body)
    receipt_date(body)
    looks_like_receipt(body)


@settings(max_examples=200)
@given(st.data())
def test_no_field_makes_a_parser_fail_otherwise(data):
    def spoil(fields):
        name = data.draw(st.sampled_from(sorted(fields)))
        return {**fields, name: data.draw(_values)}

    _ends_well(parse_stk_callback, {"Body": {"stkCallback": spoil(SUCCESS["Body"]["stkCallback"])}})
    _ends_well(parse_stk_callback, stk(CallbackMetadata=items(Amount=1, Name=data.draw(_values))))
    _ends_well(parse_c2b, spoil(C2B))
    _ends_well(parse_result, {"Result": spoil(RESULT["Result"])})
    _ends_well(parse_timeout, spoil({"ConversationID": "AG_1", "Result": {}}))
