"""The doors of C2B: register two addresses, and pretend that a customer pays."""

from flask import Blueprint, request

from portal.simulator.api import validation
from portal.simulator.api.router import Answer, Call, DarajaError, door, invalid
from portal.simulator.engine import organisations, receipts

BAD = "400.003.02"
blueprint = Blueprint("c2b", __name__)


@door(
    blueprint,
    "/mpesa/c2b/v1/registerurl",
    "/mpesa/c2b/v2/registerurl",
    name="registerurl",
    token_family="400.003.01",
)
def register(call: Call) -> Answer:
    """Keep the addresses; again and again, unlike production."""
    store = call.store
    number = validation.shortcode(call.body.get("ShortCode"))
    organisation = organisations.owned(store, number, consumer_key=call.consumer_key) if number is not None else None
    if number is None or organisation is None:
        raise _bad(call, "ShortCode")
    response_type = call.text("ResponseType")
    if response_type not in ("Completed", "Cancelled"):
        raise _bad(call, "ResponseType")
    is_strict = bool(store.setting("strict", False))
    confirmation = validation.registered_url(call.body.get("ConfirmationURL"), is_strict=is_strict)
    if confirmation is None:
        raise _bad(call, "ConfirmationURL")
    validation_url = ""
    if call.text("ValidationURL"):
        validation_url = validation.registered_url(call.body.get("ValidationURL"), is_strict=is_strict) or ""
        if not validation_url:
            raise _bad(call, "ValidationURL")
    store.run(
        "INSERT OR REPLACE INTO c2b_urls (organisation_id, shortcode, version,"
        " response_type, confirmation_url,"
        " validation_url) VALUES (?, ?, ?, ?, ?, ?)",
        organisation["id"],
        number,
        _version(),
        response_type,
        confirmation,
        validation_url,
    )
    return _accepted("Success")


@door(blueprint, "/mpesa/c2b/v1/simulate", "/mpesa/c2b/v2/simulate", name="simulate", token_family="400.003.01")
def simulate(call: Call) -> Answer:
    """A customer pays by hand half a second from now."""
    number = validation.shortcode(call.body.get("ShortCode"))
    receiver = organisations.owned(call.store, number, consumer_key=call.consumer_key) if number is not None else None
    if number is None or receiver is None:
        raise invalid("ShortCode", code=BAD)
    command = call.text("CommandID")
    if command not in ("CustomerPayBillOnline", "CustomerBuyGoodsOnline"):
        raise invalid("CommandID", code=BAD)
    till = receiver["kind"] == "BUYGOODS" and number == receiver["till"]
    if command == "CustomerBuyGoodsOnline" and not till and call.store.setting("strict", False):
        raise invalid("CommandID", code=BAD)  # a paybill has no till to pay
    shillings = validation.whole_shillings(call.body.get("Amount"))
    if shillings is None:
        raise invalid("Amount", code=BAD)
    msisdn = validation.msisdn(call.body.get("Msisdn"))
    if msisdn is None:
        raise invalid("Msisdn", code=BAD)
    account = call.text("BillRefNumber")
    if command == "CustomerPayBillOnline" and not 1 <= len(account) <= 20:
        raise invalid("BillRefNumber", code=BAD)
    payload = {"msisdn": msisdn, "shortcode": number, "account": account, "amount_cents": shillings * 100}
    call.store.add_job("hand_payment", payload, after_s=0.5)
    return _accepted("Accept the service request successfully.")


def _bad(call: Call, field: str) -> DarajaError:
    """Safaricom documents two words for it; which field it was helps whoever tries a client out."""
    return DarajaError(400, BAD, "Bad Request") if call.store.setting("strict", False) else invalid(field, code=BAD)


def _version() -> int:
    return 1 if "/v1/" in request.path else 2


def _accepted(description: str) -> Answer:
    """Daraja misspells the first key."""
    return {
        "OriginatorCoversationID": receipts.request_id(),
        "ResponseCode": "0",
        "ResponseDescription": description,
    }
