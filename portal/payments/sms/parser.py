"""A pasted M-Pesa message, read: what it claims was paid, to whom, when, under which receipt number.

It proves nothing: anyone can type one. It yields a receipt number to look up, and enough to tell a payment to
a business from the two dozen other messages that also carry a receipt and the word "Confirmed".

The form is decided by how the sentence after "Confirmed" begins, and only by the part of the text before the
balance: behind it M-Pesa advertises, with words such as Withdraw and Fuliza, and with other amounts.
Every pattern is anchored or bounded, and the text is cut at 2,000 characters, so no input takes long.
Source: messages that customers received between 2013 and 2026, in English and Swahili.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from portal.gateways.messages import receipt_date
from portal.kernel import money

MAX_TEXT = 2000
TO_BUSINESS = frozenset({"buygoods", "paybill", "paybill_bank", "paybill_no_account", "pochi"})
MIDNIGHT_SLACK = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class MpesaSms:
    """What the message claims. What it does not say is None.

    kind: buygoods, paybill, paybill_bank, paybill_no_account and pochi are payments to a business; suspicious
    is one whose receipt number spells another day; multiple is several messages, this being the first.
    The others, none of them proof of a payment to us: send_money, cross_network_out, received, received_b2c,
    received_bank, received_cross_network, received_pochi, received_till, withdraw, deposit, airtime, savings,
    reversal, fuliza_notice, fuliza_repayment, balance, bank_notice, failed, cancelled, unknown.
    date and time: Nairobi's. original_receipt: the payment that a reversal gave back.
    """

    kind: str = "unknown"
    receipt: str | None = None
    amount_cents: int | None = None
    paid_to: str | None = None
    account: str | None = None
    date: dt.date | None = None
    time: dt.time | None = None
    is_payment_to_business: bool = False
    counterparty: str | None = field(default=None, repr=False)
    counterparty_phone: str | None = field(default=None, repr=False)
    original_receipt: str | None = None
    language: str = "en"
    cost_cents: int | None = None
    balance_cents: int | None = field(default=None, repr=False)


def parse_sms(text: str) -> MpesaSms:
    """The claims of the first message in `text`. Never raises: what makes no sense is of kind `unknown`."""
    plain = _plain(text)
    heads = [head for head in _HEAD.finditer(plain) if _is_receipt(head.group(1))]
    if not heads:
        return replace(_without_head(plain), language=_language(plain))
    head = heads[0]
    body = plain[head.end() : heads[1].start() if len(heads) > 1 else None].lstrip(" .,:;!-*_")
    sms = replace(
        _read(body, before=plain[: head.start()]),
        receipt=head.group(1).upper(),
        language=_language(head.group() + body),
    )
    sms = replace(sms, is_payment_to_business=sms.kind in TO_BUSINESS)
    if len(heads) > 1:
        return replace(sms, kind="multiple")
    return replace(sms, kind="suspicious") if sms.is_payment_to_business and not _day_fits(sms) else sms


def to_json_dict(sms: MpesaSms) -> dict[str, object]:
    """The message as the command line and the API write it: amount in shillings, date ISO, time as HH:MM."""
    return {
        "kind": sms.kind,
        "receipt": sms.receipt,
        "amount": None if sms.amount_cents is None else money.kes(sms.amount_cents),
        "paidTo": sms.paid_to,
        "account": sms.account,
        "date": sms.date.isoformat() if sms.date else None,
        "time": sms.time.strftime("%H:%M") if sms.time else None,
        "isPaymentToBusiness": sms.is_payment_to_business,
    }


# ---- patterns, all for any case

_A = r"(?:ksh|kes)s?[.:]?\s{0,3}(?:(?:ksh|kes)s?[.:]?\s{0,3})?(\d[\d,]{0,14}(?:\.\d{1,2})?)"
_PHONE = r"\+?(?:254|0)?[17]\d{8}|\+?\d{3,5}\s?[*x•]{2,7}\s?\d{2,4}"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.ASCII)


_HEAD = _pattern(r"(?<![^\W_])([a-z][a-z0-9]{8,9})(?![^\W_])[\W_]{0,6}(?:confirmed|imethibitishwa)(?![^\W_])")
_BALANCE = _pattern(
    r"(?:\bnew\s+(?:[\w-]+\s+){0,3}balance\s*(?:is|was|:|ksh|kes)|\b(?:your\s+)?m-?pesa\s+(?:account\s+)?balance\s+"
    r"(?:is|was)|\b(?:baki|salio)\s+(?:yako|lako|mpya|jipya|la|ni)\b)"
)
_TAIL = _pattern(
    r"\btransaction\s+cost\b|\bamount\s+you\s+can\s+transact\b|\bgharama\s+ya\s+ku|\bkiwango\s+cha\s+pesa\b"
)
_BALANCE_AMOUNT = _pattern(r"[^\d]{0,60}?(?:is|was|ni|:)\s*(?:(?:ksh|kes)[.:]?\s{0,3})?(\d[\d,]{0,14}(?:\.\d{1,2})?)")
_COST = _pattern(rf"(?:transaction\s+cost|gharama\s+ya\s+\w{{1,20}})[,:]?\s*(?:is|ni)?\s*{_A}")
_WHEN = _pattern(
    r"(?:\b(?:on|tarehe|mnamo|siku\s+ya)\s+)?(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?!\d)"
    r"(?:\s*,?\s*(?:(?:at|saa)\s+)?(\d{1,2})[:.](\d{2})(?:\s?([ap])\.?\s?m(?:\.(?=m))?)?)?"
)
_AMOUNT = _pattern(_A)
_ACCOUNT = _pattern(
    r"\s+(?:for\s+account|kwa\s+(?:ajili\s+ya\s+)?akaunti(?:\s+(?:nambari|namba|number|no\.?))?)(?=\s|$)\s*"
)
_PHONE_AT_END = _pattern(rf"(?:^|\s)({_PHONE})$")
_CROSS_NETWORK = _pattern(r"(?:airtel\s+money|m-?pesa\s+global|t-?kash|telkom\s+t-?kash)(?:\s*-.*)?$")
_BANK = _pattern(
    r"\b(?:bank|equity|kcb|ncba|absa|stanbic|stanchart|dtb|i\s?&\s?m|coop|co-op|co-operative|family\s+bank|sidian|hfc)\b"
)
_ORIGINAL = _pattern(r"\b(?:transaction|muamala|amali)\s+(?:\w{1,10}\s+)?([a-z][a-z0-9]{8,9})(?![^\W_])")
_FAILED = _pattern(
    r"^\W{0,5}failed\b|\bdo\s+not\s+have\s+enough\b|\binsufficient\s+funds\b|\bhakuna\s+pesa\s+za\s+kutosha\b"
    r"|\bhauna\s+pesa\s+za\s+kutosha\b|\b(?:imeshindikana|haikufaulu|haijafaulu|imefeli)\b"
)
_CANCELLED = _pattern(
    r"\byou\s+have\s+cancell?ed\b|\b(?:umekataa|umeghairi|umesitisha)\b|\btransaction\s+.{0,20}cancell?ed\b"
)
_MEANT = _pattern(rf"\b(?:pay|send|withdraw|buy|kulipa|kutuma|kutoa|kununua|transaction\s+of|amali\s+ya)\s+{_A}")
_BANK_REF = _pattern(
    r"\bm-?pesa\s+(?:transaction\s+)?ref(?:erence)?\.?\s*(?:id|no|number|code)?\s*[.:#-]{0,2}\s*([a-z][a-z0-9]{8,9})(?![^\W_])"
)
_BANK_PAID = _pattern(rf"\b(?:payment|transfer)\s+of\s+{_A}\s+to\s+")
_TO_PERSON = _pattern(rf"({_PHONE})\s*-\s*(.{{1,60}}?)\s+(?:was\s+)?success")
_BANK_ACCOUNT = re.compile(r"(\w[\w-]{3,29})(?=\s)", re.ASCII)
_PHONE_AT_START = _pattern(rf"({_PHONE})(?:\s|$)")
_SWAHILI = _pattern(
    r"\b(?:imethibitishwa|umekataa|umeghairi|umesitisha|hakuna\s+pesa|hauna\s+pesa|yako|imeshindikana)\b"
)


# ---- one reader for each form of sentence


def _amounts(match: re.Match[str]) -> int | None:
    return _cents(next((group for group in match.groups() if group), None))


def _paid_or_sent(rest: str, match: re.Match[str]) -> MpesaSms:
    paid = "sent" not in match.group().lower() and "tum" not in match.group().lower()
    clause, when, stop, balance_follows = _clause(rest)
    who, account_word, account = _split_account(clause)
    who = who.removesuffix(".").strip()
    phone = None if paid or account_word else _PHONE_AT_END.search(who)
    if phone:
        who = who[: phone.start()].rstrip(" -")
    if _CROSS_NETWORK.match(who):
        kind = "cross_network_out"
    elif account_word:
        kind = "paybill_bank" if _BANK.search(who) else "paybill"
    elif paid:
        kind = "buygoods"
    elif phone:
        kind = "send_money"
    else:  # told apart by the stop after the time alone
        kind = "paybill_no_account" if balance_follows and not stop else "pochi"
    return MpesaSms(
        kind=kind,
        amount_cents=_amounts(match),
        paid_to=who or None,
        account=account or None,
        date=_date(when),
        time=_time(when),
        counterparty_phone=phone.group(1) if phone else None,
    )


def _received(rest: str, match: re.Match[str]) -> MpesaSms:
    clause, when, _, _ = _clause(rest)
    stopped = clause.endswith(".")
    who = clause.removesuffix(".").strip()
    phone = _PHONE_AT_END.search(who)
    name = who[: phone.start()].rstrip(" -") if phone else who
    if re.search(r"(?i)\bnew\s+business\s+balance\b", rest):
        kind = "received_pochi"
    elif _CROSS_NETWORK.match(name):
        kind = "received_cross_network"
    elif phone:
        kind = "received"
    elif re.search(r"(?i)\bb2c\b", name):
        kind = "received_b2c"
    elif _BANK.search(name):
        kind = "received_bank"
    else:
        kind = "received_b2c" if stopped or re.search(r"\d{5,7}$", name) else "received"
    return MpesaSms(
        kind=kind,
        amount_cents=_amounts(match),
        date=_date(when),
        time=_time(when),
        counterparty=name or None,
        counterparty_phone=phone.group(1) if phone else None,
    )


def _till_notice(rest: str, match: re.Match[str]) -> MpesaSms:
    clause, when, _, _ = _clause(rest)
    who = clause.removesuffix(".").strip()
    phone = _PHONE_AT_START.match(who)
    return MpesaSms(
        kind="received_till",
        amount_cents=_amounts(match),
        date=_date(when),
        time=_time(when),
        counterparty=(who[phone.end() :].strip() if phone else who) or None,
        counterparty_phone=phone.group(1) if phone else None,
    )


def _with_party(kind: str) -> Callable[[str, re.Match[str]], MpesaSms]:
    def read(rest: str, match: re.Match[str]) -> MpesaSms:
        clause, when, _, _ = _clause(rest)
        return MpesaSms(
            kind=kind,
            amount_cents=_amounts(match),
            date=_date(when),
            time=_time(when),
            counterparty=clause.removesuffix(".").strip() or None,
        )

    return read


def _plainly(kind: str, *, dated: bool = True) -> Callable[[str, re.Match[str]], MpesaSms]:
    def read(rest: str, match: re.Match[str]) -> MpesaSms:
        when = _clause(rest)[1] if dated else None
        return MpesaSms(kind=kind, amount_cents=_amounts(match), date=_date(when), time=_time(when))

    return read


def _balance(rest: str, match: re.Match[str]) -> MpesaSms:
    when = _WHEN.search(rest)
    return MpesaSms(kind="balance", date=_date(when), time=_time(when))


def _reversal(rest: str, match: re.Match[str]) -> MpesaSms:
    _, when, _, _ = _clause(rest)
    cut, _ = _before_balance(rest)
    original = _ORIGINAL.search(match.group() + cut)
    return MpesaSms(
        kind="reversal",
        amount_cents=_first_amount(cut),
        date=_date(when),
        time=_time(when),
        original_receipt=original.group(1).upper() if original else None,
    )


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], MpesaSms]], ...] = tuple(
    (_pattern(start), reader)
    for start, reader in (
        (
            r"(?:your\s+)?(?:m-?pesa\s+)?(?:account\s+)?balance\s+(?:was|is)\b|(?:baki|salio)\s+(?:yako|lako)\b",
            _balance,
        ),
        (
            rf"(?:kiasi\s+cha\s+)?fuliza\s+m-?pesa\s+(?:amount\s+)?(?:is|ni)\s+{_A}",
            _plainly("fuliza_notice", dated=False),
        ),
        (
            rf"{_A}\s+(?:from\s+your|kutoka)\s+.{{0,40}}(?:used\s+to|kulipa)\b",
            _plainly("fuliza_repayment", dated=False),
        ),
        (r"(?:(?:your\s+)?reversal\s+of\s+)?(?:your\s+)?transaction\b", _reversal),
        (r"(?:kurudishwa\s+kwa\s+)?(?:muamala|amali)\b", _reversal),
        (rf"(?:you\s+(?:have\s+)?bought|umenunua)\s+{_A}", _plainly("airtime")),
        (rf"(?:you\s+have\s+received|umepokea)\s+{_A}\s+(?:from|kutoka(?:\s+kwa)?)\s+", _received),
        (rf"{_A}\s*received\s+from\s+", _till_notice),
        (rf"{_A}\s*(?:imepokelewa|imepokewa)\s+kutoka\s+(?:kwa\s+)?", _till_notice),
        (rf"{_A}\s*(?:has\s+been\s+)?(?:paid|sent)\s+to\s+", _paid_or_sent),
        (rf"you\s+have\s+(?:paid|sent)\s+{_A}\s+to\s+", _paid_or_sent),
        (rf"(?:umelipa|umetuma)\s+{_A}\s+kwa\s+", _paid_or_sent),
        (rf"{_A}\s*(?:imelipwa|zimelipwa|imetumwa|zimetumwa)\s+kwa\s+", _paid_or_sent),
        (rf"(?:withdraw|toa|umetoa)\s+{_A}\s+(?:from|kutoka(?:\s+kwa)?)\s+", _with_party("withdraw")),
        (
            rf"(?:give|weka|mpe|umeweka)\s+{_A}\s+(?:cash\s+to|(?:pesa\s+taslimu\s+)?kwa)\s+",
            _with_party("deposit"),
        ),
        (rf"{_A}\s*(?:transferr?ed\s+(?:to|from)|imehamishwa)\b", _plainly("savings")),
    )
)


def _read(body: str, *, before: str) -> MpesaSms:
    """The message behind "Confirmed": its form is how it begins, after a date that some forms put first."""
    cut, balance = _before_balance(body)
    cost = _group(_COST, body)
    first = _WHEN.match(body)
    start = body[first.end() :].lstrip(" .,") if first else body
    for pattern, reader in _FORMS:
        if match := pattern.match(start):
            sms = replace(reader(start[match.end() :], match), cost_cents=cost, balance_cents=balance)
            if first and sms.date is None:
                sms = replace(sms, date=_date(first), time=_time(first))
            if sms.kind.startswith("received") and re.search(r"(?i)\bcongratulations\b", before):
                sms = replace(sms, kind="received_b2c")
            return sms
    failed = _without_head(cut)
    known = failed if failed.kind in ("failed", "cancelled") else MpesaSms()
    return replace(known, cost_cents=cost, balance_cents=balance)


def _without_head(plain: str) -> MpesaSms:
    """A message without "receipt Confirmed": a bank's own, a failure, a refusal, or none at all."""
    if reference := _BANK_REF.search(plain):
        return _bank_notice(plain, reference)
    cut, _ = _before_balance(plain)
    for kind, pattern in (("cancelled", _CANCELLED), ("failed", _FAILED)):
        if pattern.search(plain):
            meant = _MEANT.search(cut)
            return MpesaSms(kind=kind, amount_cents=_amounts(meant) if meant else _first_amount(cut))
    return MpesaSms()


def _bank_notice(plain: str, reference: re.Match[str]) -> MpesaSms:
    paid, when = _BANK_PAID.search(plain), _WHEN.search(plain)
    rest = plain[paid.end() :] if paid else ""
    to_person = _TO_PERSON.match(rest)
    account = None if to_person else _BANK_ACCOUNT.match(rest)
    sentences = [] if to_person else [part.strip() for part in plain[reference.end() :].split(".")]
    return MpesaSms(
        kind="bank_notice",
        receipt=reference.group(1).upper(),
        amount_cents=_amounts(paid) if paid else _first_amount(plain),
        paid_to=next((sentence for sentence in sentences if re.search(r"(?i)\bbank\b", sentence)), None),
        account=account.group(1) if account else None,
        date=_date(when),
        time=_time(when),
        counterparty=to_person.group(2) if to_person else None,
        counterparty_phone=to_person.group(1) if to_person else None,
    )


# ---- parts of a sentence


def _plain(text: str) -> str:
    """One line, plain spaces, straight quotes and hyphens, nothing invisible; double spaces stay."""
    if not isinstance(text, str):
        return ""
    text = text[:MAX_TEXT].translate(_STRAIGHT)
    text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cf", "Cs"))
    text = re.sub(r"\s*[\r\n\v\f\x85\u2028\u2029]\s*", " ", text)
    return re.sub(r"\s", " ", text).strip()


_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-"})


def _clause(rest: str) -> tuple[str, re.Match[str] | None, bool, bool]:
    """What stands before the date, the date, whether a stop follows it, and whether the balance comes next.

    Of several dates the last before the balance counts: an account, which the payer typed, may hold one too.
    """
    balance = _BALANCE.search(rest)
    tail = _TAIL.search(rest)
    cut = rest[: min((found.start() for found in (balance, tail) if found), default=None)]
    dates = list(_WHEN.finditer(cut))
    timed = [date for date in dates if date.group(4)] or dates
    if not timed:
        return re.split(r"\.(?:\s|$)", cut, maxsplit=1)[0].strip(), None, False, False
    when = timed[-1] if balance or tail else timed[0]
    after = cut[when.end() :].lstrip()
    return cut[: when.start()].strip(), when, after.startswith("."), bool(balance) and not after


def _split_account(clause: str) -> tuple[str, bool, str]:
    found = _ACCOUNT.search(clause)
    if not found:
        return clause, False, ""
    return clause[: found.start()].strip(), True, clause[found.end() :].strip()


def _before_balance(body: str) -> tuple[str, int | None]:
    found = _BALANCE.search(body)
    if not found:
        return body, None
    amount = _BALANCE_AMOUNT.match(body, found.start())
    return body[: found.start()], _cents(amount.group(1)) if amount else None


def _is_receipt(word: str) -> bool:
    """Ordinary words have 9 or 10 letters too: without a digit, the letters must spell a day."""
    return any(letter.isdigit() for letter in word) or receipt_date(word) is not None


def _day_fits(sms: MpesaSms) -> bool:
    """False only if receipt and text name different days. Around midnight they may be one day apart."""
    spelt = receipt_date(sms.receipt)
    if spelt is None or sms.date is None or spelt == sms.date:
        return True
    if sms.time is None or abs((spelt - sms.date).days) > 1:
        return False
    said = dt.datetime.combine(sms.date, sms.time)
    return any((said + slack).date() == spelt for slack in (MIDNIGHT_SLACK, -MIDNIGHT_SLACK))


def _language(text: str) -> str:
    return "sw" if _SWAHILI.search(text) else "en"


def _first_amount(text: str) -> int | None:
    return _group(_AMOUNT, text)


def _group(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return _cents(found.group(1)) if found else None


def _cents(digits: str | None) -> int | None:
    if digits is None or not digits.isascii():
        return None
    whole, _, part = digits.replace(",", "").partition(".")
    return int(whole) * 100 + int((part + "00")[:2])


def _date(when: re.Match[str] | None) -> dt.date | None:
    if when is None:
        return None
    day, month, year = int(when.group(1)), int(when.group(2)), int(when.group(3))
    try:
        return dt.date(year if year > 99 else 2000 + year, month, day)
    except ValueError:
        return None


def _time(when: re.Match[str] | None) -> dt.time | None:
    if when is None or when.group(4) is None:
        return None
    hour, minute, half = int(when.group(4)), int(when.group(5)), (when.group(6) or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    return dt.time(hour, minute) if hour < 24 and minute < 60 else None
