"""Carrying messages: e-mail by SMTP, text messages by Africa's Talking.

An error says whether another try can help. Nothing here opens a transaction or touches the database.
Source: Africa's Talking's messaging documentation (form fields, status codes), RFC 5321.
"""

import math
import smtplib
import ssl
from datetime import datetime
from decimal import Decimal, InvalidOperation
from email.message import EmailMessage
from email.utils import formataddr, formatdate, make_msgid, parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from portal.kernel.config import Config
from portal.notifications import calendar
from portal.outbox.carriers import CannotCarry, Carried, NothingToCarryWith

TIMEOUT_S = 10
_SENT = {100, 101, 102}
_WORTH_A_RETRY = {
    402,
    405,
    500,
    501,
    502,
}  # a sender's name or an empty account can be mended, and a gateway comes back
_OF_THE_MESSAGE = {400, 413, 422}  # answers of HTTP that the same message would get again


def send_email(config: Config, key: str, payload: dict[str, Any]) -> Carried:
    """Send one message; its Message-ID. The same key makes the same id, so a doubled one can be told."""
    if not config.smtp_url:
        raise NothingToCarryWith("No mail server is configured (SMTP_URL).")
    server = urlsplit(config.smtp_url)
    message = EmailMessage()
    message["From"], message["To"] = _sender(config, payload.get("sender", "")), payload["to"]
    message["Subject"] = payload["subject"]
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(idstring=key.replace("/", "."), domain=urlsplit(config.public_url).hostname)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(payload["text"])
    if payload.get("calendar"):
        _add_calendar(message, payload["calendar"], organizer=parseaddr(config.mail_from)[1])
    try:
        secure = server.scheme == "smtps"
        opening = smtplib.SMTP_SSL if secure else smtplib.SMTP
        named: dict[str, Any] = {"context": ssl.create_default_context()} if secure else {}
        port = server.port or (465 if secure else 587)
        with opening(server.hostname or "", port, timeout=TIMEOUT_S, **named) as connection:
            if not secure:
                _encrypt(connection, has_password=bool(server.username))
            if server.username:
                connection.login(unquote(server.username), unquote(server.password or ""))
            connection.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        is_permanent = all(code >= 500 for code, _why in error.recipients.values())  # 450: "not yet", as grey lists say
        raise CannotCarry("The mail server refused this address.", is_permanent=is_permanent) from error
    except smtplib.SMTPDataError as error:  # what it says before that is of us, not of this message
        raise CannotCarry(f"The mail server said {error.smtp_code}.", is_permanent=error.smtp_code >= 500) from error
    except smtplib.SMTPAuthenticationError as error:
        raise CannotCarry(
            f"The mail server refused our user name or password ({error.smtp_code}): look at SMTP_URL.",
            is_permanent=False,
        ) from error
    except smtplib.SMTPResponseException as error:
        raise CannotCarry(f"The mail server said {error.smtp_code}.", is_permanent=False) from error
    except (smtplib.SMTPException, OSError) as error:
        raise CannotCarry(f"The mail server cannot be reached: {type(error).__name__}.", is_permanent=False) from error
    return Carried(str(message["Message-ID"]))


def _sender(config: Config, name: str) -> str:
    """The address that our mail comes from, under the name of the business that speaks."""
    return formataddr((name, parseaddr(config.mail_from)[1])) if name else config.mail_from


def _add_calendar(message: EmailMessage, carried: dict[str, Any], *, organizer: str) -> None:
    """The visit as a part that mail programs show with buttons, and as a file for those that do not."""
    method, attendee = carried["method"], str(message["To"])
    file = calendar.calendar_file(
        calendar.entry_of(carried),
        method,
        stamp=datetime.fromisoformat(carried["stamp"].replace("Z", "+00:00")),
        organizer=organizer,
        attendee=attendee,
    )
    message.add_alternative(file.decode(), subtype="calendar", params={"method": method})
    message.add_attachment(file, maintype="application", subtype="ics", filename="invite.ics")


def _encrypt(connection: smtplib.SMTP, *, has_password: bool) -> None:
    """STARTTLS where the server offers it; without it no password is sent. Its extensions are told by EHLO alone."""
    connection.ehlo()
    if connection.has_extn("starttls"):
        connection.starttls(context=ssl.create_default_context())
    elif has_password:
        raise CannotCarry(
            "The mail server offers no encryption (STARTTLS), and the password is not sent without it.",
            is_permanent=False,
        )


def send_sms(config: Config, key: str, payload: dict[str, Any]) -> Carried:
    """Send one text message; the provider's id, and what it cost."""
    if not (config.sms_api_key and config.sms_username):
        raise NothingToCarryWith("No SMS account is configured (AT_USERNAME and AT_API_KEY).")
    form = {
        "username": config.sms_username,
        "to": "+" + payload["to"],
        "message": payload["text"],
        "bulkSMSMode": "1",
    }
    if config.sms_sender:
        form["from"] = config.sms_sender
    try:
        response = requests.post(
            config.sms_base_url + "/version1/messaging",
            data=form,
            headers={"apiKey": config.sms_api_key, "Accept": "application/json"},
            timeout=TIMEOUT_S,
        )
    except requests.RequestException as error:
        raise CannotCarry(f"The SMS provider cannot be reached: {type(error).__name__}.", is_permanent=False) from error
    if response.status_code >= 400:
        is_permanent = response.status_code in _OF_THE_MESSAGE  # else of our account, or of the hour
        raise CannotCarry(f"The SMS provider said {response.status_code}.", is_permanent=is_permanent)
    try:
        recipients = response.json()["SMSMessageData"]["Recipients"]
        if not recipients:  # sent to nobody, as where the sender's name is not ours
            raise CannotCarry("The SMS provider took the request and named no recipient.", is_permanent=False)
        recipient = recipients[0]
        code, message_id = int(recipient["statusCode"]), str(recipient.get("messageId", ""))
    except (ValueError, KeyError, IndexError, TypeError):
        raise CannotCarry("The SMS provider's answer cannot be read.", is_permanent=True) from None
    if code not in _SENT:
        raise CannotCarry(f"The SMS provider refused it with {code}.", is_permanent=code not in _WORTH_A_RETRY)
    return Carried(message_id, _cents(recipient.get("cost")))


def _cents(cost: object) -> int | None:
    """Cents of `KES 0.8000`, or None for what is no such price."""
    currency, _, amount = str(cost or "").partition(" ")
    try:
        return math.ceil(Decimal(amount) * 100) if currency == "KES" else None
    except (InvalidOperation, ValueError, OverflowError):
        return None
