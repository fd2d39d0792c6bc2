"""Who paid, as far as M-Pesa says: whole numbers, masked ones and hashes."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Literal

from portal.gateways.messages.fields import text_of


@dataclass(frozen=True)
class PayerId:
    """Who paid, as far as M-Pesa says: the whole number, a masked one, a hash, or nothing useful."""

    kind: Literal["full", "masked", "hashed", "missing"]
    text: str = field(repr=False)


def payer_id(value: object) -> PayerId:
    """What M-Pesa says about the payer, classified. It is text: never a key to look people up by."""
    text = text_of(value, limit=128)
    bare = re.sub(r"[\s+-]", "", text)
    if local := re.fullmatch(r"(?:254|0)?([17][0-9]{8})", bare):
        return PayerId("full", "254" + local.group(1))
    if re.fullmatch(r"[0-9a-fA-F]{40,64}", bare):
        return PayerId("hashed", bare.lower())
    if re.fullmatch(r"[0-9*xX•]{4,20}", bare) and re.search(r"[*xX•]", bare) and re.search(r"[0-9]", bare):
        return PayerId("masked", text)
    return PayerId("missing", text)


def payer_matches(payer: PayerId, msisdn: str) -> bool | None:
    """Whether the payer can be `msisdn` (2547XXXXXXXX); None if M-Pesa says too little to tell.

    For a masked number True means only that the digits shown fit: many phones do.
    """
    if payer.kind == "full":
        return payer.text == msisdn
    if payer.kind == "hashed":
        algorithm = {64: "sha256", 40: "sha1"}.get(len(payer.text))
        if algorithm is None:
            return None
        return hmac.compare_digest(hashlib.new(algorithm, msisdn.encode()).hexdigest(), payer.text)
    if payer.kind == "masked":
        return _fits_mask(re.sub(r"[^0-9*]", "", re.sub(r"[xX•]", "*", payer.text)), msisdn)
    return None


def _fits_mask(masked: str, msisdn: str) -> bool | None:
    if masked.startswith("0"):
        masked = "254" + masked[1:]
    elif re.match(r"[17](?![0-9]{9})", masked):
        masked = "254" + masked
    if not re.search(r"[0-9]", masked.removeprefix("254")):
        return None
    pattern = masked.replace("*", "[0-9]") if len(masked) == 12 else re.sub(r"\*+", "[0-9]+", masked)
    return re.fullmatch(pattern, msisdn) is not None
