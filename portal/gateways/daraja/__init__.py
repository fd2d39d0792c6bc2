"""A typed client of Daraja, Safaricom's M-Pesa API. One instance serves one gateway.

Errors are named for what the caller must do next:

    DarajaError
    ├── NotSent                   M-Pesa did nothing, certainly: it may be sent again later
    │   ├── Unreachable           no connection or no sign-on server: try again
    │   ├── SignOnFailed          keys or app refused: an administrator must act
    │   ├── Rejected              M-Pesa named a mistake in the request (`field`)
    │   ├── ConfigurationRefused  passkey, shortcode, initiator or product is wrong: an administrator must act
    │   ├── Throttled             too fast: wait `retry_after_s`
    │   └── SubscriberBusy        another session is open on the phone: wait `retry_after_s`
    └── OutcomeUnknown            it may have happened: ask, never send again
        └── DuplicateConversation the first request with this id exists: look that one up

Decided that what is not known to be refused is unknown: a 5xx, a page of HTML or a lost answer may hide a
prompt that rang, so only a closed list of answers counts as not sent.
Decided that a prompt, a pay-out and a reversal are never repeated here, except once after a refused token,
which M-Pesa checks before it acts. Sign-on, queries and registrations are repeated up to three times.
Source: Safaricom's Daraja documentation, and answers captured by integrators where the two differ.
"""

from portal.gateways.daraja.client import DarajaClient
from portal.gateways.daraja.encoding import clean, redact, stk_password
from portal.gateways.daraja.errors import (
    ConfigurationRefused,
    DarajaError,
    DuplicateConversation,
    NotSent,
    OutcomeUnknown,
    Rejected,
    SignOnFailed,
    SubscriberBusy,
    Throttled,
    Unreachable,
)
from portal.gateways.daraja.types import ConnectionOk, DarajaAccount, RequestAccepted, StkAccepted, StkAnswer, StkPrompt

__all__ = [
    "ConfigurationRefused",
    "ConnectionOk",
    "DarajaAccount",
    "DarajaClient",
    "DarajaError",
    "DuplicateConversation",
    "NotSent",
    "OutcomeUnknown",
    "Rejected",
    "RequestAccepted",
    "SignOnFailed",
    "StkAccepted",
    "StkAnswer",
    "StkPrompt",
    "SubscriberBusy",
    "Throttled",
    "Unreachable",
    "clean",
    "redact",
    "stk_password",
]
