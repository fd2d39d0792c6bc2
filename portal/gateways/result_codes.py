"""What M-Pesa's result codes mean: for the payer, for staff, and for the state of a push.

The code decides, never M-Pesa's own description, whose wording changes. What is not in the table is unclear:
asked about, never closed. `declined` and `cancelled` say that no money moved as far as M-Pesa knows now (a
success that arrives later still counts); `unclear` means query before anything else.
Source: Safaricom's Daraja documentation (error codes of M-Pesa Express, B2C, Reversal), captured callbacks.
"""

from dataclasses import dataclass, replace
from typing import Literal

from portal.kernel.errors import Sentence
from portal.kernel.errors import Sentence as _

Kind = Literal["paid", "declined", "cancelled", "unclear", "pending"]


@dataclass(frozen=True)
class ResultCode:
    """One code. `sentence` and `next_step` are for the payer, `for_staff` says whose turn it is.

    retry_after_s: seconds until M-Pesa would take a new prompt to the same phone; 0 is at once.
    """

    code: str
    meaning: str
    kind: Kind
    sentence: Sentence
    next_step: Sentence
    retry_after_s: int = 0
    for_staff: str = ""


_CHECKING = _("We are checking with M-Pesa. Do not pay again yet.")
_WAIT_HERE = _("This page tells you the result by itself.")
_NO_ANSWER = _("No answer from the phone in time.")
_AT_HAND = _("Unlock the phone, keep it at hand, and try again.")
_NOT_ACTIVE = _("This M-Pesa account is not active.")
_OTHER_NUMBER = _("Pay from another number, or call Safaricom on 100.")
NOT_SET_UP = "SETUP"  # ours: M-Pesa has many codes and wordings for it, and gives some of them to payers' faults too
_NOT_SET_UP_HERE = _("M-Pesa is not set up correctly here. You have not been charged.")
_TELL_STAFF = _("Trying again does not help. Please tell the staff.")
_NOT_SET_UP = _("The business has not set up its M-Pesa correctly.")
_TELL_THEM = _("You have not been charged. Please tell the business.")
_FROM_SETTINGS = "Check shortcode, store number and type (PayBill or Buy Goods) in the gateway's settings."

_UNKNOWN = ResultCode(
    "", "not in Safaricom's tables", "unclear", _CHECKING, _WAIT_HERE, 60,
    "M-Pesa gave a code that we do not know. It is queried; if that stays silent, look in the M-Pesa portal.",
)  # fmt: skip

_REFUSED = ResultCode(
    NOT_SET_UP, "refused for the gateway's own settings", "declined", _NOT_SET_UP_HERE, _TELL_STAFF, 0,
    "M-Pesa refuses this gateway's requests. An administrator tests the connection in its settings.",
)  # fmt: skip

# Written closely, so that a person can proofread the whole table.
# fmt: off
_STK = (
    ResultCode("0", "paid", "paid", _("Paid."), _("Nothing more to do."), 0, "Paid."),
    ResultCode("1", "not enough money", "declined", _("Not enough M-Pesa balance."),
               _("Top up your M-Pesa, then try again."), 0, "The payer lacks the money, Fuliza included."),
    ResultCode("2", "below the minimum", "declined", _("The amount is below M-Pesa's minimum."), _TELL_THEM,
               0, "M-Pesa takes KES 1 or more. Correct the amount."),
    ResultCode("3", "above the maximum for one payment", "declined",
               _("The amount is above M-Pesa's limit for one payment."), _("Pay it in smaller parts."), 0,
               "Split the amount, or lower the gateway's limit to M-Pesa's."),
    ResultCode("4", "above the payer's daily limit", "declined",
               _("This would pass your M-Pesa limit for today."),
               _("Try again tomorrow, or pay from another number."), 0,
               "The payer's daily limit is KES 500,000."),
    ResultCode("8", "above the business's balance limit", "declined",
               _("The business cannot receive more M-Pesa money just now."), _TELL_THEM, 0,
               "Your M-Pesa account is full. Move money out of it, then payers can try again."),
    ResultCode("11", "payer's account in an invalid state", "declined", _NOT_ACTIVE, _OTHER_NUMBER, 0,
               "The payer's M-Pesa account is not active."),
    ResultCode("17", "same amount twice within 2 minutes, or internal failure", "unclear", _CHECKING,
               _WAIT_HERE, 120,
               "M-Pesa takes one equal prompt in 2 minutes, or failed inside. Query before a new prompt."),
    ResultCode("20", "unresolved initiator", "declined", _NOT_SET_UP, _TELL_THEM, 0,
               "Safaricom does not know the initiator. " + _FROM_SETTINGS),
    ResultCode("26", "system too busy", "unclear", _CHECKING, _WAIT_HERE, 60,
               "M-Pesa is overloaded. Query, then prompt again after 60 seconds."),
    ResultCode("1001", "another session is open on the phone", "declined",
               _("Another M-Pesa request is open on this phone."),
               _("Close it, wait 2 minutes, then try again."), 120,
               "The phone was busy with another M-Pesa session, perhaps our own earlier prompt."),
    ResultCode("1019", "transaction expired", "declined", _NO_ANSWER, _AT_HAND, 0, "The prompt expired."),
    ResultCode("1025", "the prompt could not be sent", "unclear", _CHECKING, _WAIT_HERE, 120,
               "M-Pesa could not send the prompt; its text may be too long. Shorten the account reference."),
    ResultCode("9999", "the prompt could not be sent", "unclear", _CHECKING, _WAIT_HERE, 120,
               "M-Pesa could not send the prompt. Query, then prompt again after 2 minutes."),
    ResultCode("1031", "no PIN in time", "declined", _NO_ANSWER, _AT_HAND, 0,
               "The payer entered no PIN in time."),
    ResultCode("1032", "cancelled", "cancelled", _("You cancelled the M-Pesa prompt."),
               _("Try again when you are ready."), 0,
               "The payer cancelled, or the prompt closed by itself."),
    ResultCode("1036", "the answer did not return in time", "declined", _NO_ANSWER, _AT_HAND, 0,
               "The phone's answer came too late. A late success is still taken."),
    ResultCode("1037", "the phone could not be reached", "declined", _NO_ANSWER, _AT_HAND, 0,
               "Phone off, busy, not answered, or an old SIM. A late success is still taken."),
    ResultCode("2001", "wrong PIN", "declined", _("Wrong M-Pesa PIN."), _("Try again with the right PIN."),
               0, "The payer entered a wrong PIN."),
    ResultCode("2006", "account status does not allow it", "declined", _NOT_ACTIVE, _OTHER_NUMBER, 0,
               "The payer's M-Pesa account may not do this."),
    ResultCode("2028", "product not assigned", "declined", _NOT_SET_UP, _TELL_THEM, 0,
               "The type of payment does not fit the receiving number. " + _FROM_SETTINGS),
    ResultCode("2029", "till and PayBill confused", "declined", _NOT_SET_UP, _TELL_THEM, 0,
               "Till and PayBill are confused. " + _FROM_SETTINGS),
    ResultCode("4999", "still being processed", "pending",
               _("M-Pesa is still working on it. Do not pay again yet."), _WAIT_HERE, 0,
               "Not answered yet. It is queried again."),
    ResultCode("8006", "PIN locked", "declined", _("Your M-Pesa PIN is locked."),
               _("Call Safaricom on 100 to unlock it, then try again."), 0, "The payer's PIN is locked."),
    ResultCode("SFC_IC0003", "receiving number does not exist", "declined", _NOT_SET_UP, _TELL_THEM, 0,
               "Safaricom does not know the receiving number. " + _FROM_SETTINGS),
    ResultCode("E3008", "number refused", "declined", _("M-Pesa refused this number."), _OTHER_NUMBER, 0,
               "The sandbox answers so for real phones: use its test number 254708374149."),
)

_SENT = _("Sent.")
_NO_REFUND = _("The money could not be sent to you.")
_ASKING = _("We are checking with M-Pesa whether the money was sent.")
_ON_IT = _("The business has been told and will settle it.")
_SENDER_LOCKED = "Nothing more is sent with this initiator until an administrator looks: it would be locked."


def _refused(code: str, meaning: str, for_staff: str) -> ResultCode:
    return ResultCode(code, meaning, "declined", _NO_REFUND, _ON_IT, 0, for_staff)


def _unclear(code: str, meaning: str, for_staff: str) -> ResultCode:
    return ResultCode(code, meaning, "unclear", _ASKING, _ON_IT, 60, for_staff)


_B2C = (
    ResultCode("0", "sent", "paid", _SENT, _("Nothing more to do."), 0, "Done."),
    _refused("1", "utility account too low",
             "The utility account holds too little. Top it up, then send again."),
    _refused("2", "below the minimum", "The amount is below the minimum of KES 10. Pay it in cash."),
    _refused("3", "above the maximum", "The amount is above the limit for one payment. Send it in parts."),
    _refused("4", "above the receiver's daily limit",
             "The receiver's daily limit is reached. Send it tomorrow."),
    _refused("8", "above the receiver's balance limit",
             "The receiver's M-Pesa is full. Reverse the payment, or keep it as credit."),
    _refused("11", "account not active", "The B2C account is not active. Ask Safaricom to activate it."),
    _unclear("15", "duplicate",
             "A request with this id exists already. Look up the first one; never send again."),
    _unclear("17", "internal failure",
             "M-Pesa failed inside. Ask for the transaction's status; never send again."),
    _refused("18", "initiator's credential check failed",
             "Password or certificate is wrong. " + _SENDER_LOCKED),
    _unclear("19", "out of sequence", "Ask for the transaction's status before anything else."),
    _refused("20", "unresolved initiator",
             "Safaricom does not know the initiator's name. Check it in the settings."),
    _refused("21", "initiator lacks the role",
             "Give the operator the API initiator role in the M-Pesa portal."),
    _refused("22", "initiator inactive",
             "The API operator is not active. Activate it in the M-Pesa portal."),
    _refused("24", "fields missing",
             "Safaricom missed a field in the request. Check the gateway's settings."),
    _refused("25", "invalid parameters",
             "Safaricom refused a field of the request. Check the gateway's settings."),
    _unclear("26", "system too busy",
             "M-Pesa is overloaded. Ask for the transaction's status; never send again."),
    _refused("29", "invalid command", "This kind of payment is not enabled for the shortcode."),
    _refused("2001", "initiator's name, password or certificate wrong",
             "Name, password or certificate of the initiator is wrong. " + _SENDER_LOCKED),
    _refused("2006", "account not active", "The account's status does not allow it. Ask Safaricom."),
    _refused("2028", "shortcode may not do this",
             "The shortcode may not do this. Ask Safaricom for the product."),
    _refused("2040", "receiver is no M-Pesa customer",
             "The number has no M-Pesa. Reverse the payment, or keep it as credit."),
    _refused("8006", "initiator locked",
             "The API operator is locked. Reset it in the M-Pesa portal. " + _SENDER_LOCKED),
    _refused("SFC_IC0003", "phone number invalid",
             "Safaricom does not know the number. Ask for another one."),
    _refused("R000001", "already reversed", "This payment was reversed before. Nothing more to reverse."),
    _refused("R000002", "original receipt unknown",
             "Safaricom does not know this receipt for this shortcode."),
)
# fmt: on
_OVERLOADED = _unclear("", "overloaded", "M-Pesa is overloaded. Ask for the transaction's status; never send again.")
_UNKNOWN_B2C = _unclear("", "not in Safaricom's tables", "Unknown code. Ask for the status; never send again.")

RESULT_CODES: dict[str, ResultCode] = {entry.code: entry for entry in _STK}
B2C_RESULT_CODES: dict[str, ResultCode] = {entry.code: entry for entry in _B2C}
LOCKS_INITIATOR = frozenset({"18", "2001", "8006"})  # in results of B2C, reversal, status and balance
_OVERLOAD_CODES = frozenset(str(100_000_000 + n) for n in range(12))


def explain(code: object) -> ResultCode:
    """The meaning of an STK result, from a callback or a query. Unknown codes are `unclear`, never closed."""
    key = _normal(code)
    if key == NOT_SET_UP:
        return _REFUSED
    return RESULT_CODES.get(key) or replace(_UNKNOWN, code=key)


def explain_b2c(code: object) -> ResultCode:
    """The meaning of a B2C, reversal, status or balance result. Unknown codes are `unclear`: never resend."""
    key = _normal(code)
    known = B2C_RESULT_CODES.get(key)
    return known or replace(_OVERLOADED if key in _OVERLOAD_CODES else _UNKNOWN_B2C, code=key)


def _normal(code: object) -> str:
    text = "" if code is None else str(code).strip()[:40].upper()
    return "0" if text and not text.strip("0") else text
