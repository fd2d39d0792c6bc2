"""A mail server that keeps what it is sent, for the tests to read.

Decided: fifty lines over the standard library, because the tests need to receive and to refuse, nothing more.
"""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast


@dataclass(frozen=True)
class Mail:
    """One message as it came over the wire: read `message["Subject"]` and `message.get_content()`."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    was_encrypted: bool = False


class SmtpSink:
    """Listens on a spare loopback port until `stop()`. `refuse_with`: said to DATA, instead of taking it; `refusals`:
    said to AUTH, MAIL or RCPT.

    tls: offered by STARTTLS. `passwords`: what was sent to sign in, and whether nobody on the way could read it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.mails: list[Mail] = []
        self.refuse_with: str | None = None
        self.refusals: dict[str, str] = {}
        self.tls = tls
        self.passwords: list[tuple[str, bool]] = []
        self._arrived = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.sink = self
        self.host, self.port = "127.0.0.1", int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"smtp://{self.host}:{self.port}"

    def take(self, mail: Mail) -> None:
        with self._arrived:
            self.mails.append(mail)
            self._arrived.notify_all()

    def wait_for(self, count: int = 1, *, within_s: float = 5.0) -> list[Mail]:
        """All mail so far, once there are `count`. AssertionError if they do not come in time."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.mails) >= count, within_s)
            assert came, f"{len(self.mails)} of {count} mails came within {within_s} s"
            return list(self.mails)

    def clear(self) -> None:
        with self._arrived:
            self.mails.clear()
        self.refuse_with = None
        self.refusals.clear()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    sink: SmtpSink


class _Conversation(socketserver.StreamRequestHandler):
    timeout = 10  # a test that forgot QUIT must not keep the thread

    def handle(self) -> None:
        sender, recipients = "", list[str]()
        self.is_encrypted = False
        self._say("220 mlango.test ESMTP")
        for verb, argument in self._commands():
            match verb:
                case "EHLO" | "STARTTLS" | "AUTH":
                    if not self._greet(verb, argument):
                        return
                case "HELO" | "NOOP":
                    self._say("250 OK")
                case "RSET":
                    sender, recipients = "", []
                    self._say("250 OK")
                case "MAIL":
                    sender, recipients = _address(argument), []
                    self._say("250 OK")
                case "RCPT":
                    recipients.append(_address(argument))
                    self._say("250 OK")
                case "DATA":
                    self._take(sender, recipients)
                case "QUIT":
                    self._say("221 Bye")
                    return
                case _:
                    self._say("502 Not known here")

    def _commands(self) -> Iterator[tuple[str, str]]:
        """(verb, argument) of each command; what is to be refused is answered here."""
        while line := self.rfile.readline(2000):
            verb, _, argument = line.decode(errors="replace").strip().partition(" ")
            if refusal := cast(_Server, self.server).sink.refusals.get(verb.upper()):
                self._say(refusal)
            else:
                yield verb.upper(), argument

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the encrypted one, where it took the place of the first

    def _greet(self, verb: str, argument: str) -> bool:
        """Extensions, encryption and sign-in; False where the conversation is over."""
        sink = cast(_Server, self.server).sink
        if verb == "EHLO":
            offered = "250-STARTTLS\r\n" if sink.tls and not self.is_encrypted else ""
            self._say(f"250-mlango.test\r\n{offered}250-AUTH PLAIN\r\n250-8BITMIME\r\n250 SIZE 10000000")
        elif verb == "AUTH":
            said = base64.b64decode(argument.partition(" ")[2]).decode()
            sink.passwords.append((said.rpartition("\0")[2], self.is_encrypted))
            self._say("235 Welcome")
        elif sink.tls is None:
            self._say("502 Not known here")
        else:
            self._say("220 Go ahead")
            return self._encrypt(sink.tls)
        return True

    def _encrypt(self, context: ssl.SSLContext) -> bool:
        try:
            self.request = context.wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, OSError):
            return False  # the other side did not believe our certificate
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)
        self.is_encrypted = True
        return True

    def _take(self, sender: str, recipients: list[str]) -> None:
        sink = cast(_Server, self.server).sink
        if sink.refuse_with or not recipients:
            self._say(sink.refuse_with or "503 RCPT first")
            return
        self._say("354 End with a dot")
        sink.take(Mail(sender, tuple(recipients), self._read_message(), self.is_encrypted))
        self._say("250 OK")

    def _read_message(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append((line[1:] if line.startswith(b"..") else line).replace(b"\r\n", b"\n"))
        return message_from_bytes(b"".join(lines), policy=policy.default)

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


def _address(argument: str) -> str:
    """`a@b.test` of `FROM:<a@b.test> SIZE=100`."""
    return argument.partition("<")[2].partition(">")[0]
