"""The hotspot directory: pages in RouterOS' own template language, `$(name)` and `$(if …) … $(endif)`.

A file that was put into the router (`/file` of the API) stands in the place of the one that came with it.
"""

import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from portal.simulator.router.machine import Machine

_OURS = Path(__file__).parent / "html"
_TAG = re.compile(r"\$\(([^()]*)\)")
_COMPARED = re.compile(r"([\w-]+)\s*(==|!=)\s*'([^']*)'")


def read(machine: Machine, name: str) -> str:
    """The file's text, as it was put in or as it came."""
    directory = _directory(machine)
    for path in (f"{directory}/{name}", f"flash/{directory}/{name}"):
        put_in = machine.entry("/file", name=path)
        if put_in is not None:
            return str(put_in.get("contents", ""))
    return (_OURS / name).read_text()


def _directory(machine: Machine) -> str:
    profile = machine.entry("/ip/hotspot/profile", name="hsprof1") or {}
    return str(profile.get("html-directory-override") or profile.get("html-directory", "hotspot"))


def render(text: str, values: Mapping[str, str], *, is_json: bool = False) -> str:
    """The text with its variables in place; `<name>-esc` is the value for an address. An unknown one is empty."""
    escape: Callable[[str], str] = (lambda value: json.dumps(value)[1:-1]) if is_json else html.escape
    written: list[str] = []
    # Of each `if` that is open: whether this branch is taken, and whether one was.
    branches: list[list[bool]] = []
    at = 0
    for tag in _TAG.finditer(text):
        if all(taken for taken, _was in branches):
            written.append(text[at : tag.start()])
        at = tag.end()
        if not _branch(tag[1].strip(), values, branches) and all(taken for taken, _was in branches):
            written.append(escape(_value(tag[1].strip(), values)))
    if all(taken for taken, _was in branches):
        written.append(text[at:])
    return "".join(written)


def _branch(tag: str, values: Mapping[str, str], branches: list[list[bool]]) -> bool:
    """Whether the tag is one of a condition, which is then followed."""
    word, _, condition = tag.partition(" ")
    if word == "if":
        holds = _holds(condition, values)
        branches.append([holds, holds])
    elif word in ("elif", "else") and branches:
        taken = not branches[-1][1] and (word == "else" or _holds(condition, values))
        branches[-1] = [taken, branches[-1][1] or taken]
    elif word == "endif" and branches:
        branches.pop()
    else:
        return False
    return True


def _holds(condition: str, values: Mapping[str, str]) -> bool:
    if found := _COMPARED.fullmatch(condition.strip()):
        return (_value(found[1], values) == found[3]) is (found[2] == "==")
    return _value(condition.strip(), values) not in ("", "no")


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values and name.endswith("-esc"):
        return quote(values.get(name.removesuffix("-esc"), ""), safe="")
    return values.get(name, "")
