"""Personal values at rest: sealed for reading back, hashed with a key for finding again. Source: promise A3.

The context names the tenant, so one tenant's sealed phone number does not open, and is not found, in another's rows.
"""

from portal.kernel import vault
from portal.kernel.phone import normalise_msisdn


def seal_phone(msisdn: str, tenant_id: int) -> str:
    """Sealed form of `2547XXXXXXXX`."""
    return vault.seal(msisdn, context=vault.context(vault.PHONE, tenant_id))


def open_phone(sealed: str | None, tenant_id: int) -> str | None:
    """The number again, or None where none is kept (never known, or erased)."""
    return vault.unseal(sealed, context=vault.context(vault.PHONE, tenant_id)) if sealed else None


def phone_hash(msisdn: str, tenant_id: int) -> str:
    """What a phone number is found by: 64 hexadecimal digits."""
    return vault.lookup(normalise_msisdn(msisdn), context=vault.context(vault.PHONE, tenant_id))


def seal_checkout(checkout_request_id: str, tenant_id: int) -> str:
    """Sealed form of a CheckoutRequestID, which ends in the payer's phone number."""
    return vault.seal(checkout_request_id, context=vault.context(vault.CHECKOUT, tenant_id))


def open_checkout(sealed: str | None, tenant_id: int) -> str | None:
    """The CheckoutRequestID again, or None."""
    return vault.unseal(sealed, context=vault.context(vault.CHECKOUT, tenant_id)) if sealed else None


def checkout_hash(checkout_request_id: str) -> str:
    """What a CheckoutRequestID is found by. Not by tenant: Safaricom's callbacks of old addresses name none."""
    return vault.lookup(checkout_request_id, context="checkout")


def prompt_key(what: str, value: str) -> str:
    """What a phone, a network or a device is counted by in every tenant alike: only limits on prompts look at it."""
    return vault.lookup(value, context=f"prompts/{what}")


def network_hash(network: str, tenant_id: int) -> str:
    """What a sender's network is counted by: 64 hexadecimal digits."""
    return vault.lookup(network, context=f"network/{tenant_id}")


def email_hash(address: str, tenant_id: int) -> str:
    """What an e-mail address is found by, however it is capitalised: 64 hexadecimal digits."""
    return vault.lookup(address.casefold(), context=f"email/{tenant_id}")


def word_hashes(name: str, tenant_id: int) -> set[str]:
    """What each word of a name is found by: 64 hexadecimal digits each."""
    words = {word.casefold() for word in name.split()}
    return {vault.lookup(word, context=f"name/{tenant_id}") for word in words}


def seal_text(text: str | None, tenant_id: int) -> str | None:
    """Sealed form of a name, an address or a raw message."""
    return vault.seal(text, context=vault.context(vault.TEXT, tenant_id)) if text else None


def open_text(sealed: str | None, tenant_id: int) -> str | None:
    """The text again, or None."""
    return vault.unseal(sealed, context=vault.context(vault.TEXT, tenant_id)) if sealed else None
