"""The lines of an invoice, as they are asked for: in words and an amount, or from the price list."""

from collections.abc import Mapping
from typing import Any

from portal.clinic.billing import price_list
from portal.kernel import money
from portal.kernel.errors import NotFound, Refused, Text
from portal.kernel.errors import Sentence as _

LINE_KINDS = price_list.KINDS
MOST_LINES, MOST_PIECES, LONGEST_DESCRIPTION = 100, 1_000, 200


def check(tenant_id: int, lines: object) -> list[dict[str, Any]]:
    """The columns of these lines. Raises Refused with every field at fault.

    Each is {kind, description, amount in KES, quantity?}, the amount of all its pieces together; or
    {priceItemId, quantity?}, which takes the rest from the price list. An amount beside a price must be what it says:
    one that was looked up before the price changed is refused, not charged.
    """
    if not isinstance(lines, list | tuple) or not 0 < len(lines) <= MOST_LINES:
        raise Refused(
            "An invoice needs 1 to 100 lines, each with kind, description and amount.",
            code="invalid_fields",
            fields={"lines": _("Give at least one line.")},
        )
    checked: list[dict[str, Any]] = []
    wrong: dict[str, Text] = {}
    for index, line in enumerate(lines):
        given = line if isinstance(line, Mapping) else {}
        faults: dict[str, Text] = {}
        columns = _listed(tenant_id, given, faults) if given.get("priceItemId") else _written(given, faults)
        wrong |= {f"lines.{index}.{name}": said for name, said in faults.items()}
        checked.append(columns)
    if wrong:
        raise Refused("Some lines are not complete.", code="invalid_fields", fields=wrong)
    return checked


def _quantity(given: Mapping[str, Any], faults: dict[str, Text]) -> int:
    asked = given.get("quantity", 1)
    if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= MOST_PIECES:
        faults["quantity"] = _("A whole number from 1 to 1000.")
        return 1
    return asked


def _amount(given: Mapping[str, Any], faults: dict[str, Text]) -> int:
    try:
        return money.payable_cents(given.get("amount"), limit_cents=10**12)
    except Refused as error:
        faults["amount"] = error.message
        return 0


def _written(given: Mapping[str, Any], faults: dict[str, Text]) -> dict[str, Any]:
    kind = given.get("kind") or "other"
    description = str(given.get("description") or "").replace("\0", "").strip()[:LONGEST_DESCRIPTION]
    if kind not in LINE_KINDS:
        faults["kind"] = f"Must be one of {', '.join(LINE_KINDS)}."
    if not description:
        faults["description"] = _("Say what it is for.")
    return {
        "kind": kind,
        "description": description,
        "quantity": _quantity(given, faults),
        "amount_cents": _amount(given, faults),
    }


def _listed(tenant_id: int, given: Mapping[str, Any], faults: dict[str, Text]) -> dict[str, Any]:
    try:
        item = price_list.item(tenant_id, str(given["priceItemId"]))
    except NotFound as error:
        faults["priceItemId"] = error.message
        return {}
    if item.withdrawn_at is not None:
        faults["priceItemId"] = _("%(name)s is not on the price list any more. Choose it anew.", name=item.name)
    quantity = _quantity(given, faults)
    amount_cents = item.price_cents * quantity
    if given.get("amount") is not None and _amount(given, faults) != amount_cents and "amount" not in faults:
        shown = money.format_kes(amount_cents)
        faults["amount"] = _("The price list says %(amount)s. Check, then send it again.", amount=shown)
    return {
        "kind": item.kind,
        "description": item.name,
        "quantity": quantity,
        "amount_cents": amount_cents,
        "price_item_id": item.id,
    }
