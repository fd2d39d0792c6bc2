"""How a value is written into a file of somebody else's language, so that it stays a value whatever it holds."""

from html import escape

_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#%&'()*+,-./:;<=>@[]^_{|}~`"  # not " \ $ ?
)


def routeros(value: str) -> str:
    r"""A string of RouterOS' script language, in its quotes. What is not plain is written as its bytes, `\0A`.

    Source: help.mikrotik.com, Scripting, escape sequences: `\"`, `\\`, `\$`, `\?` and `\xx` in hexadecimal capitals.
    """
    written = []
    for letter in value:
        if letter in _PLAIN:
            written.append(letter)
        elif letter in '"\\$?':
            written.append("\\" + letter)
        else:
            written.extend(f"\\{byte:02X}" for byte in letter.encode("utf-8", "replace"))
    return '"' + "".join(written) + '"'


def uci(value: str) -> str:
    """A value of OpenWrt's configuration, in single quotes; its line ends are blanks."""
    return "'" + " ".join(value.split()).replace("'", "'\\''") + "'"


def html(value: str) -> str:
    """Text of a page that RouterOS reads first: nothing of it is its `$(…)`."""
    return escape(" ".join(value.split()), quote=True).replace("$", "&#36;")


def comment(value: str) -> str:
    """Words for a comment that ends with its line."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(value.split()))
