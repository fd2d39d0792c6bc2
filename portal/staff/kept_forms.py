"""What was typed into a form whose session had ended, kept through the sign-in and shown again in the form.

Nothing is submitted by itself: the form reopens, and the person sends it. What is kept is sealed, for the same person
and the same address only, for a quarter of an hour, without secrets. A form from another site is never kept: either
its token was ours, or the browser says that our own page sent it.
"""

import json
import re
from typing import Any
from urllib.parse import urlencode

import redis
from flask import current_app, flash, g, redirect, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from flask_wtf import FlaskForm
from flask_wtf.csrf import CSRFError
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException
from wtforms import HiddenField, PasswordField

from portal.kernel import vault
from portal.kernel.db import new_token
from portal.kernel.logs import logger
from portal.web.errors import forged
from portal.web.signin import ask_to_sign_in

KEPT_FOR_S, MOST_CHARACTERS = 900, 20_000
SECRET = re.compile(r"password|secret|passkey|credential|certificate|consumer_?key|token|pin$", re.IGNORECASE)


class StaffForm(FlaskForm):
    """A form of the staff pages: reopened with what was typed before the session ended."""

    class Meta(FlaskForm.Meta):
        def wrap_formdata(self, form: FlaskForm, formdata: object) -> object:
            typed: MultiDict[str, str] | None = g.get("typed_before")
            if typed is None or request.method != "GET":
                return super().wrap_formdata(form, formdata)
            return MultiDict((name, value) for name, value in typed.items(multi=True) if _may_return(form, name))


def _may_return(form: FlaskForm, name: str) -> bool:
    """Hidden fields say how things stood when the page was made; only the key that makes a form one record stays."""
    field = form._fields.get(name)
    is_hidden = isinstance(field, HiddenField) and name != "idempotency_key"
    return field is not None and not is_hidden and not isinstance(field, PasswordField)


def ask_keeping() -> ResponseReturnValue:
    """The sign-in page; then the form again as it was typed. The form's token was ours."""
    address = _keep(session.get("person")) if request.method == "POST" else None
    return ask_to_sign_in(address)


def ask_again() -> ResponseReturnValue:
    """The sign-in page for who is signed in, but not freshly; then the form as it was typed."""
    return ask_to_sign_in(_keep(current_user.id) or "/staff/")


def not_forged(error: CSRFError) -> ResponseReturnValue:
    """A form of our own whose token belongs to a session before this one; any other is refused."""
    is_ours = request.headers.get("Sec-Fetch-Site") == "same-origin" and "HX-Request" not in request.headers
    if is_ours and current_user.is_authenticated:
        if address := _keep(current_user.id):
            return redirect(address, 303)
    elif is_ours and (address := _keep(session.get("person"))):
        return ask_to_sign_in(address)
    return forged(error)


def _keep(person_id: int | None) -> str | None:
    """Put by what was typed; the address at which it is shown again, or None where it cannot be kept."""
    if person_id is None:
        return None
    page = _page_of(request.path)
    typed = [(name, value) for name, value in request.form.items(multi=True) if not _is_secret(name)]
    if page != request.path or sum(len(name) + len(value) for name, value in typed) > MOST_CHARACTERS:
        typed = []
    token = new_token()
    kept = json.dumps({"person": person_id, "page": page, "typed": typed})
    store: redis.Redis = current_app.extensions["redis"]
    try:
        store.set(f"kept:{token}", vault.seal(kept, context=f"kept/{token}"), ex=KEPT_FOR_S)
    except redis.RedisError:
        logger.warning("redis_away", what="a form is not kept through the sign-in")
        return None
    tenant = session.get("tenant")  # who works for several comes back to the one they typed it for
    return f"{page}?{urlencode({'kept': token} | ({'tenant': tenant} if tenant else {}))}"


def _is_secret(name: str) -> bool:
    return SECRET.search(name) is not None


def _page_of(path: str) -> str:
    """The page that this form stands on: its own address, or the nearest above it that can be looked at."""
    rules = current_app.url_map.bind("localhost")
    while path.count("/") > 1:
        try:
            rules.match(path, method="GET")
            return path
        except HTTPException:
            path = path.rstrip("/").rpartition("/")[0]
    return "/staff/"


def take_up() -> None:
    """Show again what this person typed here before they signed in."""
    token = request.args.get("kept", "")
    if request.method != "GET" or not (token.isalnum() and len(token) <= 40):
        return
    store: Any = current_app.extensions["redis"]
    try:
        sealed = store.get(f"kept:{token}")
        kept = json.loads(vault.unseal(str(sealed, "ascii"), context=f"kept/{token}")) if sealed else None
    except (redis.RedisError, vault.CannotOpen):
        return
    if kept is None or kept["person"] != current_user.id or kept["page"] != request.path:
        return
    if kept["typed"]:
        g.typed_before = MultiDict([(name, value) for name, value in kept["typed"]])
        flash(_("This was not sent: a sign-in was needed first. Check what you typed, then send it."), "info")
    else:
        flash(_("That was not done: a sign-in was needed first. Nothing was changed, so do it again."), "info")
