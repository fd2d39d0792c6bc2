"""Our own static files and htmx: under names that change with their content, kept by browsers, sent compressed.

The captive portal's style and script are packed: who stands in front of it is on a thin line, and may not take gzip.
"""

import gzip
import hashlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from flask import Flask, Response, request
from flask_babel import gettext as _

from portal.kernel.paths import ROOT
from portal.web.errors import error_page

STATIC = ROOT / "static"
GZIP_LEAST_BYTES = 600
YEAR_S = 31_536_000
# Pages behind a sign-in: their size, compressed, would tell of the secrets in them.
# Packed into one: (sources, type). What stands in them as comment is left out.
PACKS = {
    "captive.css": (("css/payer.css",), "text/css"),
    "captive.js": (("js/mlango.js", "js/captive.js"), "text/javascript"),
}
NEVER_COMPRESSED = ("/staff", "/login", "/account", "/password", "/api/")


def set_up(app: Flask) -> None:
    """Serve htmx, name assets to the templates, say how long they may be kept, and compress what strangers get."""
    app.jinja_env.globals.update(asset=asset, packed=packed, htmx_url=f"/vendor/{htmx_file()[0]}")
    app.add_url_rule("/packed/<name>", "packed", pack)
    app.add_url_rule("/vendor/<name>", "vendor", vendor)
    app.after_request(_compress)
    app.after_request(_keep)


@cache
def htmx_file() -> tuple[str, bytes]:
    """(name with the content's hash, bytes gzipped) of the htmx that the wheel carries."""
    spec = find_spec("js_lib_htmx")
    folder = Path(next(iter(spec.submodule_search_locations or []))) if spec else Path()
    content = (folder / "static" / "htmx" / "htmx.min.js").read_bytes()
    return f"htmx.{hashlib.sha256(content).hexdigest()[:12]}.js", gzip.compress(content, 9, mtime=0)


@cache
def asset_hash(path: str) -> str:
    """Twelve digits that change with the file's content."""
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


def asset(path: str) -> str:
    """The address of one of our static files; it changes with its content, so it may be kept for ever."""
    return f"/static/{path}?h={asset_hash(path)}"


@cache
def pack_file(name: str) -> tuple[str, str]:
    """(name with the content's hash, content) of one of PACKS: its sources, without comments and indentation."""
    text = "".join((STATIC / path).read_text() for path in PACKS[name][0])
    text = re.sub(r"\s*\n\s*", "\n", re.sub(r"/\*.*?\*/", "", text, flags=re.S)).strip() + "\n"
    if name.endswith(".css"):
        text = re.sub(r"\s*([{}:;,>])\s+", r"\1", text).replace(" {", "{").replace(";}", "}")
    stem, _dot, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(text.encode()).hexdigest()[:12]}.{ending}", text


def packed(name: str) -> str:
    """The address of one of PACKS; it changes with its content."""
    return f"/packed/{pack_file(name)[0]}"


def pack(name: str) -> Response:
    """One of PACKS, under a name that changes with its content."""
    for known, (_sources, kind) in PACKS.items():
        named, text = pack_file(known)
        if name == named:
            response = Response(text, mimetype=kind)
            response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable"
            return response
    return error_page(404, _("Not here"), _("There is nothing at this address."))


def vendor(name: str) -> Response:
    """htmx, under a name that changes with its content."""
    known, packed = htmx_file()
    if name != known:
        return error_page(404, _("Not here"), _("There is nothing at this address."))
    accepts = "gzip" in request.headers.get("Accept-Encoding", "")
    response = Response(packed if accepts else gzip.decompress(packed), mimetype="text/javascript")
    response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable"
    response.headers["Vary"] = "Accept-Encoding"
    if accepts:
        response.headers["Content-Encoding"] = "gzip"
    return response


def _keep(response: Response) -> Response:
    """A file asked for by its hash may be kept for ever, any other for five minutes."""
    if request.path.startswith("/static/"):
        is_hashed = "h" in request.args
        kept = f"public, max-age={YEAR_S}, immutable" if is_hashed else "public, max-age=300"
        response.headers["Cache-Control"] = kept
    return response


def _compress(response: Response) -> Response:
    """Gzip what strangers get, never what stands behind a sign-in."""
    if (
        request.path.startswith(NEVER_COMPRESSED)
        or "gzip" not in request.headers.get("Accept-Encoding", "")
        or response.headers.get("Content-Encoding")
        or response.status_code not in (200, 422)
        or not (
            (response.mimetype or "").startswith("text/")
            or response.mimetype in ("application/javascript", "image/svg+xml")
        )
    ):
        return response
    response.direct_passthrough = False
    body = response.get_data()
    if len(body) >= GZIP_LEAST_BYTES:
        response.set_data(gzip.compress(body, 6, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.add("Vary", "Accept-Encoding")
    return response
