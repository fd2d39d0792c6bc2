"""The codes themselves."""

import re
import secrets

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # no 0 O, no 1 I L
LENGTH = 9  # of 31: 44 bits
_CODE = re.compile(rf"[{LETTERS}]{{{LENGTH}}}")


def new_code() -> str:
    """A random code."""
    return "".join(secrets.choice(LETTERS) for _n in range(LENGTH))


def normalise(typed: str) -> str:
    """The code of what was typed, in any case and however grouped; an empty text for what is none."""
    bare = re.sub(r"[\s\-.·]", "", typed).upper()
    return bare if _CODE.fullmatch(bare) else ""
