"""Faults on demand: global or for one shortcode, for the next n times or until taken away."""

from dataclasses import dataclass
from typing import Any

from portal.kernel.errors import Refused
from portal.simulator.api.validation import finite
from portal.simulator.engine.store import Store

MOST = 10**9  # result codes are that long

# name -> what a bare number in `/control` means: "times", or the unit of its value
FAULTS = {
    "noCallback": "times",
    "lateCallback": "seconds",
    "duplicateCallback": "copies",
    "outOfOrder": "times",
    "callbackBeforeAnswer": "times",
    "callbackAmount": "amount",
    "c2bLost": "times",
    "resultLost": "times",
    "timeoutInsteadOfResult": "times",
    "resultCode": "code",
    "http500": "times",
    "http429": "times",
    "spikeArrest": "times",
    "slowAnswer": "seconds",
    "htmlAnswer": "times",
    "emptyAnswer": "times",
    "tokenExpired": "times",
    "dropConnection": "times",
}


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    value: float | None


def take(store: Store, name: str, *, shortcodes: set[str], endpoint: str = "") -> Fault | None:
    """The fault if it strikes now, one fewer left; None if it does not.

    A fault that names no endpoint leaves OAuth alone: otherwise the sign-on would use up what was meant for
    the push.
    """
    with store.transaction():
        for row in store.all("SELECT * FROM faults WHERE name = ? ORDER BY shortcode DESC, id", name):
            if row["shortcode"] and row["shortcode"] not in shortcodes:
                continue
            if row["endpoint"] != endpoint if row["endpoint"] else endpoint == "oauth":
                continue
            if row["times"] is not None:
                if row["times"] <= 1:
                    store.run("DELETE FROM faults WHERE id = ?", row["id"])
                else:
                    store.run("UPDATE faults SET times = times - 1 WHERE id = ?", row["id"])
            return Fault(name, row["value"])
    return None


def order(store: Store, wanted: Any) -> None:
    """Set or take away faults. `wanted`: `{name: setting}` or `{shortcode: {name: setting}}`.

    setting: true (until taken away), false or null (gone), a number (see FAULTS), or an object with any of
    `times`, `seconds`, `copies`, `amount`, `code`, `shortcode`, `endpoint`. Raises Refused naming an unknown
    one.
    """
    if not isinstance(wanted, dict):
        raise Refused('faults is an object such as {"noCallback": 1}.', code="invalid_faults")
    with store.transaction():
        for name, setting in wanted.items():
            if name in FAULTS:
                _order_one(store, name, setting, shortcode="")
            elif str(name).isdigit() and isinstance(setting, dict):
                for inner, inner_setting in setting.items():
                    if inner not in FAULTS:
                        raise Refused(
                            f"No fault is called {inner!r}. Known: {', '.join(FAULTS)}.", code="unknown_fault"
                        )
                    _order_one(store, inner, inner_setting, shortcode=str(name))
            else:
                raise Refused(f"No fault is called {name!r}. Known: {', '.join(FAULTS)}.", code="unknown_fault")


def _order_one(store: Store, name: str, setting: Any, *, shortcode: str) -> None:
    times: int | None = None
    value: float | None = None
    endpoint = ""
    if isinstance(setting, dict):
        shortcode = str(setting.get("shortcode", shortcode) or "")
        endpoint = str(setting.get("endpoint", "") or "")
        times = _number(name, setting["times"], int) if setting.get("times") is not None else None
        for unit in ("seconds", "copies", "amount", "code", "value"):
            if setting.get(unit) is not None:
                value = _number(name, setting[unit], float)
    elif not isinstance(setting, bool) and setting is not None:
        number = _number(name, setting, float)
        if FAULTS[name] == "times":
            times = int(number)
        else:
            value = number
    store.run(
        "DELETE FROM faults WHERE name = ? AND shortcode = ? AND (endpoint = ? OR ? = '')",
        name,
        shortcode,
        endpoint,
        endpoint,
    )
    gone = setting is None or setting is False or times == 0 or (value == 0 and FAULTS[name] != "amount")
    if not gone:
        store.insert("faults", name=name, shortcode=shortcode, endpoint=endpoint, times=times, value=value)


def _number(name: str, raw: Any, kind: type[int] | type[float]) -> Any:
    try:
        number = kind(finite(raw))
    except (TypeError, ValueError):
        raise Refused(f"{name}: {raw!r} is not a number.", code="invalid_faults") from None
    if abs(number) > MOST or (number < 0 and FAULTS[name] != "amount"):
        raise Refused(f"{name}: {raw!r} is not between 0 and {MOST:,}.", code="invalid_faults")
    return number
