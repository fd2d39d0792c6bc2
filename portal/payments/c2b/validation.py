"""Answering Safaricom before a payment by hand: may this account be paid? From the database alone, within 2 s."""

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel.db import db, hurry
from portal.kernel.logs import logger
from portal.payments import matching
from portal.payments.inbox import inbox
from portal.payments.states import PaymentState
from portal.payments.wallets import wallets
from portal.tenants.models import Tenant

ACCEPTED = {"ResultCode": "0", "ResultDesc": "Accepted"}
# Of Safaricom's six refusals these are ours: phone (11) and names (14) come masked, and nothing else (16) is known.
INVALID_ACCOUNT, INVALID_AMOUNT, INVALID_SHORTCODE = "C2B00012", "C2B00013", "C2B00015"


def validate(gateway_token: str, body: bytes) -> dict[str, str]:
    """Safaricom's answer. Accepts when in doubt: a refused payer is lost, money without a home is not."""
    try:
        with hurry():
            return _validate(gateway_token, body)
    except messages.Malformed as error:
        logger.warning("validation_malformed", why=str(error))
        return ACCEPTED
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.error("validation_without_database", error=type(error).__name__)
        return ACCEPTED


def _validate(gateway_token: str, body: bytes) -> dict[str, str]:
    hook_gateway = inbox.gateway_by_token(gateway_token)
    if hook_gateway is None:
        return ACCEPTED
    asked = messages.parse_c2b(messages.read_json(body))
    gateway = db.session.get_one(Gateway, hook_gateway.gateway_id)
    if asked.shortcode not in matching.numbers_of(gateway):
        return _refuse(INVALID_SHORTCODE, "This number is not ours")
    strict = db.session.scalar(select(Tenant.refuses_unknown_accounts).where(Tenant.id == hook_gateway.tenant_id))
    payment = matching.payment_of(gateway, asked.account)
    if not strict or (gateway.sub_kind == "BUYGOODS" and not asked.account.strip()):
        return ACCEPTED
    if payment is None and wallets.find_by_account(hook_gateway.tenant_id, messages.normalise_account(asked.account)):
        return ACCEPTED
    if payment is None:
        return _refuse(INVALID_ACCOUNT, "There is no such account")
    if payment.state != PaymentState.OPEN:
        return _refuse(INVALID_ACCOUNT, "That account has nothing to pay")
    if asked.amount_cents > payment.due_cents:  # less is a part, and welcome
        return _refuse(INVALID_AMOUNT, "That is more than is due on that account")
    return ACCEPTED


def _refuse(code: str, why: str) -> dict[str, str]:
    return {"ResultCode": code, "ResultDesc": why}
