"""What a pasted M-Pesa message claims: every known form, variations of it, and anything else."""

import datetime as dt
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.payments.sms.parser import MAX_TEXT, MpesaSms, parse_sms, to_json_dict

SAMPLES = json.loads((Path(__file__).parent / "sms_samples.json").read_text())
R = "UITZK2M9QX"  # spells 29 September 2026
TAIL = (
    "New M-PESA balance is Ksh19,505.30. Transaction cost, Ksh5.00. Amount you can transact within the day "
    "is 492,305.00. Pay for Goods, Withdraw & Send money 0722000000 with FULIZA on 1/1/27 at 1:00 AM."
)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s['kind']}-{s['receipt']}")
def test_every_known_message_is_read_exactly(sample):
    sms = parse_sms(sample["text"])
    assert to_json_dict(sms) == {
        "kind": sample["kind"],
        "receipt": sample["receipt"],
        "amount": sample["amount"],
        "paidTo": sample["paid_to"],
        "account": sample["account"],
        "date": sample["date"],
        "time": sample["time"],
        "isPaymentToBusiness": sample["is_payment_to_business"],
    }
    found = {
        "counterparty": sms.counterparty,
        "counterparty_phone": sms.counterparty_phone,
        "original_receipt": sms.original_receipt,
        "lang": sms.language,
        "cost": None if sms.cost_cents is None else sms.cost_cents / 100,
        "balance": None if sms.balance_cents is None else sms.balance_cents / 100,
    }
    for name in sample.keys() & found.keys():
        assert found[name] == sample[name], name


def test_there_are_fifty_one_of_them():
    assert len(SAMPLES) == 51


@pytest.mark.parametrize("damage", [str.lower, str.upper, lambda t: t.replace(" ", "\u00a0"), lambda t: f"  {t}\n"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s['kind']}-{s['receipt']}")
def test_case_and_odd_spaces_change_neither_kind_nor_amount(sample, damage):
    sms = to_json_dict(parse_sms(damage(sample["text"])))
    assert (sms["kind"], sms["receipt"], sms["amount"]) == (
        sample["kind"],
        sample["receipt"],
        sample["amount"],
    )
    assert (sms["date"], sms["time"]) == (sample["date"], sample["time"])


# ---- the same forms with other names, amounts and days

_names = st.from_regex(r"[A-Z][A-Z0-9&'()*-]{0,9}( {1,2}[A-Z0-9&'()*-]{1,9}){0,3}", fullmatch=True).filter(
    lambda name: (
        not any(word in name for word in ("BANK", "KCB", "NCBA", "ABSA", "DTB", "HFC", "EQUITY", "COOP"))
        and not name.endswith(" ON")
    )  # before a date nobody can tell it from the sentence's own "on"
)
_accounts = st.from_regex(r"[A-Za-z0-9]{1,8}([ ./#-][A-Za-z0-9]{1,6}){0,2}", fullmatch=True)
_shillings = st.decimals("0.01", "250000", places=2)
_moments = st.datetimes(dt.datetime(2017, 1, 1), dt.datetime(2031, 12, 31, 23, 59))
_spaces = st.sampled_from([" ", "\n", " \n", "\u00a0", "\r\n"])


def receipt_for(moment):
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
    return chr(65 + moment.year - 2006) + chr(64 + moment.month) + letters[moment.day] + "4ZVC23F"


def written(moment):
    hour = moment.hour % 12 or 12
    half = "PM" if moment.hour > 11 else "AM"
    return f"{moment.day}/{moment.month}/{moment:%y}", f"{hour}:{moment:%M} {half}"


@settings(max_examples=150)
@given(_names, _accounts, _shillings, _moments, _spaces)
def test_any_paybill_payment_is_read(name, account, amount, moment, space):
    day, clock = written(moment)
    said = f"Ksh{amount:,} sent to {name} for account {account} on {day} at {clock} {TAIL}"
    text = f"{receipt_for(moment)} Confirmed. {said}"
    sms = parse_sms(text.replace(" Confirmed. ", f"{space}Confirmed.{space}").replace(" on ", f"{space}on ", 1))
    assert (sms.kind, sms.paid_to, sms.account) == ("paybill", name, account)
    assert sms.amount_cents == int(amount * 100) and sms.is_payment_to_business
    assert (sms.date, sms.time) == (moment.date(), moment.time().replace(second=0, microsecond=0))
    assert (sms.receipt, sms.balance_cents, sms.cost_cents) == (receipt_for(moment), 1_950_530, 500)


@settings(max_examples=150)
@given(_names, _shillings, _moments)
def test_any_till_payment_is_read_in_both_languages(name, amount, moment):
    day, clock = written(moment)
    r = receipt_for(moment)
    english = parse_sms(f"{r} Confirmed. Ksh{amount:,} paid to {name}. on {day} at {clock}.{TAIL}")
    swahili = parse_sms(
        f"{r} Imethibitishwa. Umelipa Ksh{amount:,} kwa {name} {day} {clock}.Baki yako mpya katika M-PESA ni Ksh1.00."
    )
    for sms in (english, swahili):
        assert (sms.kind, sms.paid_to, sms.amount_cents) == ("buygoods", name, int(amount * 100))
        assert (sms.date, sms.account, sms.receipt) == (moment.date(), None, r)
    assert (english.language, swahili.language) == ("en", "sw")


@pytest.mark.parametrize(
    ("text", "kind", "amount", "paid_to", "account"),
    [
        (f"{R} Confirmed. Ksh Ksh4,870.00 sent to UPENDO for account 7 on 29/9/26 at 1:00 PM {TAIL}",
         "paybill", 4870, "UPENDO", "7"),
        (f"{R} Confirmed. KES 500 sent to UPENDO for account 7 on 29/09/2026 at 13:00 {TAIL}",
         "paybill", 500, "UPENDO", "7"),
        (f"{R} Confirmed. Ksh500.00 sent to NEW BALANCE SHOES for account on 29/9/26 at 1:00 PM {TAIL}",
         "paybill", 500, "NEW BALANCE SHOES", None),
        (f"{R} Confirmed. Ksh500.00 sent to UPENDO for account rent on 2/3/26 on 29/9/26 at 1:00 PM {TAIL}",
         "paybill", 500, "UPENDO", "rent on 2/3/26"),
        (f"{R} Confirmed. Ksh500.00 sent to NCBA BANK for account 7 on 29/9/26 at 1:00 PM {TAIL}",
         "paybill_bank", 500, "NCBA BANK", "7"),
        (f"{R} Confirmed. Ksh500 paid to MAMA’S & SONS (HQ) *1*. on 29/9/26 at 1:00\u202fPM.{TAIL}",
         "buygoods", 500, "MAMA'S & SONS (HQ) *1*", None),
        (f"{R} Confirmed. Ksh500.00 paid to UPENDO LTD.. on 29/9/26 at 1:00 PM.{TAIL}",
         "buygoods", 500, "UPENDO LTD.", None),
        (f"{R} Confirmed. Ksh500.00 paid to UPENDO LTD. on 29/9/26 at 1:00 PM",
         "buygoods", 500, "UPENDO LTD", None),
        (f"*{R}* Confirmed. Ksh500.00 paid to UPENDO. on 29/9/26 at 1:00 PM.{TAIL}",
         "buygoods", 500, "UPENDO", None),
        (f"{R} Confirmed. Ksh500.00 sent to AIRTEL MONEY for account 731000277 on 29/9/26 at 1:00 PM {TAIL}",
         "cross_network_out", 500, "AIRTEL MONEY", "731000277"),
        (f"{R} Imethibitishwa Ksh5.00 imetumwa kwa M-PESA GLOBAL kwa akaunti 7 29/9/26 saa 1:00 PM.",
         "cross_network_out", 5, "M-PESA GLOBAL", "7"),
        (f"{R} Confirmed. Ksh500.00 sent to JANE DOE 0712***678 on 29/9/26 at 1:00 PM. {TAIL}",
         "send_money", 500, "JANE DOE", None),
        (f"{R} Confirmed. Ksh500.00 sent to JANE DOE +254112345678 on 29/9/26 at 1:00 PM. {TAIL}",
         "send_money", 500, "JANE DOE", None),
        (f"{R} Confirmed. On 29/9/26 at 1:00 PM Give Ksh1,000.00 cash to MFANO AGENCY {TAIL}",
         "deposit", 1000, None, None),
        (f"{R} Confirmed.on 29/9/26 at 1:00 PMKsh20.00 received from 254712345678 JOHN. {TAIL}",
         "received_till", 20, None, None),
        (f"{R} Confirmed.Ksh15,000.00 transferred from M-Shwari account on 29/9/26 at 1:00 PM. {TAIL}",
         "savings", 15000, None, None),
        (f"{R} Confirmed. Your M-PESA balance was Ksh50.00 on 29/9/26 at 1:00 PM",
         "balance", None, None, None),
        (f"{R} Confirmed", "unknown", None, None, None),
    ],
)  # fmt: skip
def test_other_texts_of_the_same_forms(text, kind, amount, paid_to, account):
    sms = parse_sms(text)
    shown = to_json_dict(sms)
    assert (shown["kind"], shown["amount"], shown["paidTo"], shown["account"]) == (
        kind,
        amount,
        paid_to,
        account,
    )
    assert sms.receipt == R
    if kind != "unknown":
        assert sms.date == dt.date(2026, 9, 29) and sms.time == dt.time(13)


def test_a_bank_s_own_notice_gives_its_receipt_and_is_no_payment_to_us():
    sms = parse_sms(
        "Dear Customer, your M-PESA payment of KES 2,000.00 to 011099887766 was successful on "
        f"29/09/26 10:22 PM. M-Pesa Ref: {R}. Equity Bank. Call us"
    )
    assert (sms.kind, sms.receipt, sms.paid_to, sms.account) == (
        "bank_notice",
        R,
        "Equity Bank",
        "011099887766",
    )
    assert not sms.is_payment_to_business


@pytest.mark.parametrize("text", ["", "hello", R, "Withdrawal from my side is done", "payment successful confirmed"])
def test_what_is_no_message_gives_nothing(text):
    assert parse_sms(text) == MpesaSms()


@pytest.mark.parametrize(
    ("day", "clock", "kind"),
    [
        ("29/9/26", "4:24 PM", "buygoods"),
        ("2/9/26", "4:24 PM", "suspicious"),
        ("29/8/26", "4:24 PM", "suspicious"),
        ("30/9/26", "12:04 AM", "buygoods"),
        ("28/9/26", "11:55 PM", "buygoods"),
        ("30/9/26", "12:30 AM", "suspicious"),
        ("30/9/26", "4:24 PM", "suspicious"),
    ],
)
def test_a_receipt_that_spells_another_day_is_suspicious_except_around_midnight(day, clock, kind):
    sms = parse_sms(f"{R} Confirmed. Ksh1,500.00 paid to UPENDO. on {day} at {clock}.{TAIL}")
    assert sms.kind == kind and sms.is_payment_to_business


def test_a_receipt_whose_letters_spell_no_day_is_not_suspicious():
    assert parse_sms(f"QZZ5K2M9QX Confirmed. Ksh5.00 paid to UPENDO. on 29/9/26 at 1:00 PM.{TAIL}").kind == "buygoods"


def test_two_messages_at_once_are_never_read_as_one():
    one = f"{R} Confirmed. Ksh50.00 paid to UPENDO. on 29/9/26 at 1:00 PM.{TAIL}"
    both = parse_sms(f"{one}\n{one.replace('50.00', '5,000.00')}")
    assert (both.kind, both.amount_cents, both.paid_to) == ("multiple", 5000, "UPENDO")


def test_the_counterparty_and_the_balance_stay_out_of_the_log():
    shown = repr(parse_sms(f"{R} Confirmed. Ksh5.00 sent to JANE 0712345678 on 29/9/26 at 1:00 PM. {TAIL}"))
    assert "0712345678" not in shown and "1950530" not in shown


# ---- anything at all

_pieces = st.sampled_from(
    [
        *(
            R,
            "Confirmed.",
            "Imethibitishwa.",
            "Ksh",
            "Ksh1,500.00",
            "KES 5",
            "sent to",
            "paid to",
            "for account",
        ),
        *(
            "on",
            "at",
            "29/9/26",
            "99/99/99",
            "25:61 PM",
            "1:00 PM",
            "New M-PESA balance is",
            "Baki yako",
            "kwa",
        ),
        *("Fuliza M-PESA amount is", "Reversal of transaction", "M-Pesa Ref:", "payment of", "received from"),
        *("You have received", "0712345678", "\n", "\u00a0", ".", "*", "’", "Failed.", "You have cancelled"),
    ]
)


@settings(max_examples=300)
@given(st.one_of(st.text(), st.lists(st.one_of(_pieces, st.text(max_size=5))).map(" ".join)))
def test_no_text_makes_it_fail_and_the_answer_is_json(text):
    sms = parse_sms(text)
    shown = to_json_dict(sms)
    assert json.loads(json.dumps(shown)) == shown
    assert sms.amount_cents is None or sms.amount_cents >= 0


@pytest.mark.parametrize(
    "unit",
    [
        *(
            " ",
            "\n ",
            "a",
            "1",
            "new ",
            "Ksh",
            "Ksh 1 ",
            "transaction ",
            "for account ",
            "baki ",
            "on 1/1/26 ",
        ),
        *("bank ", "a-", f"{R} confirmed ", "0712345678 - ", "\u00a0", "**"),
    ],
)
@pytest.mark.parametrize(
    "start",
    ["", f"{R} Confirmed. Ksh1 sent to ", f"M-Pesa payment of KES 1 to 0712345678 - M-Pesa Ref: {R} "],
)
def test_no_text_takes_long(unit, start):
    text = (start + unit * 100_000)[:100_000]
    began = time.thread_time()  # this thread's own work: a busy machine changes nothing
    parse_sms(text)
    assert time.thread_time() - began < 5, "milliseconds, or for ever"
    assert parse_sms(text) == parse_sms(text[:MAX_TEXT])


@pytest.mark.parametrize("other", [None, 5, b"bytes", ["x"]])
def test_what_is_no_text_at_all_is_unknown(other):
    assert parse_sms(other).kind == "unknown"
