"""What a phone does with a prompt, chosen by its last two digits or by an instruction: a table, not code.

`BEHAVIOURS` is shown on the front page and may be copied into documents: ending, name, what happens.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from portal.kernel.errors import Refused
from portal.kernel.phone import TEST_MSISDN
from portal.simulator.api.validation import finite
from portal.simulator.engine.store import Store

ANSWERS: dict[str, str | None] = {
    "person": None,
    "pay": "0",
    "cancel": "1032",
    "timeout": None,
    "noFunds": "1",
    "wrongPin": "2001",
    "dailyLimit": "4",
    "ruleLimited": "17",
    "busy": "26",
    "pinLocked": "8006",
    "promptFailed": "1025",
    "expired": "1019",
    "badDebt": "E3008",
}
CALLBACKS = (
    "normal",
    "none",
    "late",
    "twice",
    "first",
    "wrongAmount",
    "echoFirst",
    "failedThenPaid",
    "stringCode",
)
DOORS = ("normal", "html500", "hang", "busy", "locked", "underProcessing")
DESCRIPTIONS = {
    "0": "The service request is processed successfully.",
    "1": "The balance is insufficient for the transaction.",
    "2": "Declined due to limit rule: less than the minimum transaction amount.",
    "3": "Declined due to limit rule: greater than the maximum transaction amount.",
    "4": "Declined due to limit rule: would exceed the daily transfer limit.",
    "8": "Declined due to limit rule: would exceed the maximum balance.",
    "17": "System internal error: rule limited.",
    "25": "One or more parameters are invalid.",
    "26": "System busy. The service request is rejected.",
    "1019": "Transaction has expired.",
    "1025": "An error occurred while sending a push request.",
    "1032": "Request cancelled by user",
    "1037": "DS timeout user cannot be reached",
    "2001": "The initiator information is invalid.",
    "2028": "The request is not permitted according to product assignment.",
    "2040": "The receiver is not a registered customer.",
    "8006": "The security credential is locked.",
    "E3008": "Error, the user has a bad debt contract.",
    "SFC_IC0003": "The operator does not exist.",
    "R000001": "The transaction has already been reversed.",
    "R000002": "The OriginalTransactionID is invalid.",
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """answer: a key of ANSWERS or a result code; after_s: seconds until it; callback, door: what is odd."""

    name: str
    says: str
    answer: str = "person"
    after_s: float = 1.0
    callback: str = "normal"
    door: str = "normal"

    @property
    def code(self) -> str | None:
        """The result code that comes by itself, None where a person or the clock decides."""
        return ANSWERS.get(self.answer, self.answer)


PERSON = Behaviour("person", "waits for a person to answer on the handset page")
PAYS = Behaviour("pay", "pays after 1 s", "pay")
BEHAVIOURS: dict[str, Behaviour] = {
    "00": PERSON,
    "01": PAYS,
    "02": Behaviour("cancel", "cancels after 1 s (1032)", "cancel"),
    "03": Behaviour("timeout", "nobody answers; the prompt expires after 60 s (1037)", "timeout", 60),
    "04": Behaviour("noFunds", "has not enough money (1)", "noFunds"),
    "05": Behaviour("wrongPin", "enters a wrong PIN (2001)", "wrongPin"),
    "06": Behaviour("payLate", "pays after 150 s, when most clients have given up", "pay", 150),
    "07": Behaviour("callbackTwice", "pays; the callback comes twice", "pay", callback="twice"),
    "08": Behaviour("noCallback", "pays; no callback ever comes (a query says paid)", "pay", callback="none"),
    "09": Behaviour("callbackFirst", "pays; the callback comes 1 s before the push is answered", "pay", 0, "first"),
    "10": Behaviour("html500", "pays; the push is answered by HTTP 500 with HTML", "pay", door="html500"),
    "11": Behaviour("hang", "pays; the push is not answered for 35 s", "pay", door="hang"),
    "12": Behaviour("systemBusy", "the push is refused: 500.003.02 System is busy", door="busy"),
    "13": Behaviour("subscriberLocked", "the push is refused: Unable to lock subscriber", door="locked"),
    "14": Behaviour("wrongAmount", "pays; the callback states another amount", "pay", callback="wrongAmount"),
    "15": Behaviour(
        "echoFirst", "pays; the C2B confirmation comes 2 s before the callback", "pay", callback="echoFirst"
    ),
    "16": Behaviour("dailyLimit", "is over its daily limit (4)", "dailyLimit"),
    "17": Behaviour("ruleLimited", "is refused as rule limited (17)", "ruleLimited"),
    "18": Behaviour(
        "failedThenPaid",
        "the callback says 1037 after 5 s, and 15 s later that it was paid",
        "pay",
        5,
        "failedThenPaid",
    ),
    "19": Behaviour("busy", "M-Pesa is too busy to finish it (26)", "busy"),
    "20": Behaviour("pinLocked", "has its PIN locked (8006)", "pinLocked"),
    "21": Behaviour("promptFailed", "the prompt cannot be shown (1025)", "promptFailed"),
    "22": Behaviour("expired", "the transaction expires (1019)", "expired"),
    "23": Behaviour("paySlowly", "pays after 10 s", "pay", 10),
    "24": Behaviour("callbackLate", "pays; the callback comes 60 s later (a query says paid)", "pay", callback="late"),
    "25": Behaviour("stringCode", "pays; the callback writes ResultCode as text", "pay", callback="stringCode"),
    "26": Behaviour("badDebt", "fails with a code that is no number (E3008)", "badDebt"),
    "27": Behaviour(
        "underProcessing",
        "pays after 10 s; until then a query answers 4999",
        "pay",
        10,
        door="underProcessing",
    ),
}
_NAMED = {behaviour.name: behaviour for behaviour in BEHAVIOURS.values()}


def by_digits(msisdn: str) -> Behaviour:
    """What this number does without an instruction."""
    return PAYS if msisdn == TEST_MSISDN else BEHAVIOURS.get(msisdn[-2:], PERSON)


def of_phone(store: Store, msisdn: str) -> Behaviour:
    """What this phone does with the next prompt: its instruction, else its last two digits."""
    row = store.one("SELECT instruction FROM customers WHERE msisdn = ?", msisdn)
    if row is not None and row["instruction"]:
        return Behaviour(**json.loads(row["instruction"]))
    return by_digits(msisdn)


def read_instruction(value: Any) -> Behaviour:
    """The behaviour that `/control` names: a name, an ending of two digits, an answer, or an object with
    `answer`, `afterSeconds`, `callback`, `door`. Raises Refused naming what would be right."""
    if isinstance(value, str):
        known = _NAMED.get(value) or BEHAVIOURS.get(value)
        if known:
            return known
        if value in ANSWERS or value.isdigit():
            return Behaviour(value, f"answers {value}", value)
        raise Refused(f"No behaviour is called {value!r}. Known: {', '.join(_NAMED)}.", code="unknown_behaviour")
    if not isinstance(value, dict):
        raise Refused("An instruction is a name or an object with answer, afterSeconds, callback, door.")
    made = _NAMED.get(str(value.get("behaviour", "")), PERSON)
    answer = str(value.get("answer", made.answer))
    callback = str(value.get("callback", made.callback))
    door = str(value.get("door", made.door))
    if answer not in ANSWERS and answer not in DESCRIPTIONS and not answer.isdigit():
        raise Refused(f"answer {answer!r} is none of {', '.join(ANSWERS)} and no result code.")
    if callback not in CALLBACKS:
        raise Refused(f"callback {callback!r} is none of {', '.join(CALLBACKS)}.")
    if door not in DOORS:
        raise Refused(f"door {door!r} is none of {', '.join(DOORS)}.")
    given_s = value.get("afterSeconds", 60 if answer == "timeout" else made.after_s)
    try:
        after_s = finite(given_s)
    except (TypeError, ValueError):
        raise Refused(f"afterSeconds: {given_s!r} is not a number of seconds.") from None
    return replace(
        made,
        name="instructed",
        says=f"instructed: {answer} after {after_s:g} s, callback {callback}, door {door}",
        answer=answer,
        after_s=max(0.0, after_s),
        callback=callback,
        door=door,
    )


def dump(behaviour: Behaviour) -> str:
    """JSON that `Behaviour(**...)` reads back."""
    return json.dumps(asdict(behaviour))


def describe(code: str) -> str:
    """M-Pesa's sentence for a result code."""
    return DESCRIPTIONS.get(code, "The service request failed.")
