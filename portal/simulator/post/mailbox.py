"""A mailbox that takes every e-mail: an SMTP server on loopback, and a page that shows what came."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, render_template

from portal.kernel import clock
from portal.simulator.api.router import store_of_app
from portal.simulator.engine.store import Store, instant
from portal.simulator.handset.pages import wants_html

if TYPE_CHECKING:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import SMTP, Envelope, Session

SHOWN = 50
blueprint = Blueprint("mailbox", __name__)


class Mailbox:
    """Takes mail into the store, from a thread of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(self, _server: "SMTP", _session: "Session", envelope: "Envelope") -> str:
        """One message, whoever it is for."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        letter = message_from_bytes(content, policy=policy.default)
        self._store.insert(
            "mails",
            at=self._store.timestamp(),
            sender=str(letter["From"] or envelope.mail_from or ""),
            recipients=", ".join(envelope.rcpt_tos),
            subject=str(letter["Subject"] or ""),
            text=_text_of(letter),
        )
        return "250 Taken"


def _text_of(letter: EmailMessage) -> str:
    body = letter.get_body(preferencelist=("plain", "html"))
    return str(body.get_content()).replace("\r\n", "\n").strip() if body is not None else ""


def listen(store: Store, *, host: str, port: int) -> "Controller":
    """Take mail at this address until `stop()`."""
    from aiosmtpd.controller import Controller  # only where there is a mailbox

    controller = Controller(Mailbox(store), hostname=host, port=port, decode_data=False)
    controller.start()
    return controller


@blueprint.get("/outbox")
def outbox() -> Response:
    """The newest e-mails: a page, or `{"mails": [{from, to, subject, text, at}]}`."""
    rows = store_of_app().all("SELECT * FROM mails ORDER BY id DESC LIMIT ?", SHOWN)
    mails: list[dict[str, Any]] = [
        {
            "from": row["sender"],
            "to": row["recipients"],
            "subject": row["subject"],
            "text": row["text"],
            "at": clock.rfc3339(instant(row["at"])),
            "when": f"{clock.nairobi(instant(row['at'])):%d %b, %H:%M}",
        }
        for row in rows
    ]
    if wants_html():
        return Response(render_template("outbox.html", mails=mails))
    return jsonify(mails=[{name: value for name, value in mail.items() if name != "when"} for mail in mails])
