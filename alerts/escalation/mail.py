"""E-mail by SMTP, as plain text. TLS is what the settings say and never less: a server that does not offer it
gets nothing."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal

from alerts.escalation.message import ATTEMPT_SECONDS, Message, Sent, body, shortened, subject

Security = Literal["starttls", "tls", "none"]

ANSWER_SECONDS = 10.0  # for each answer of the server; a healthy one takes milliseconds, greylisting seconds


@dataclass(frozen=True, slots=True)
class MailSettings:
    """`security`: `starttls` (port 587), `tls` from the first byte (465), `none` (a relay on this machine).
    `ca`: PEM of the authority to trust; None: those of the system."""

    host: str
    port: int
    security: Security
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str | None = None
    answer_seconds: float = ANSWER_SECONDS


class Mail:
    """The channel `mail`; an address is one mailbox."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    async def send(self, message: Message, now: datetime) -> Sent:
        """One connection, one message. The same Message-ID in every attempt, so that a mailbox shows it once."""
        letter = compose(message, self._settings.sender, now)
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                return await asyncio.to_thread(self._deliver, letter)
        except TimeoutError:
            return Sent("retry", f"the mail server took more than {ATTEMPT_SECONDS:g} s")

    def _deliver(self, letter: EmailMessage) -> Sent:
        try:
            with self._connected() as server:
                server.send_message(letter)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            return _refused(code, text)
        except smtplib.SMTPAuthenticationError as error:  # our settings, not this message: may be mended
            return Sent("retry", f"login refused: {error.smtp_code} {shortened(error.smtp_error)}")
        except smtplib.SMTPResponseException as error:
            return _refused(error.smtp_code, error.smtp_error)
        except ssl.SSLError as error:
            return Sent("retry", f"TLS: {shortened(error.reason or error)}")
        except (smtplib.SMTPException, OSError) as error:
            return Sent("retry", shortened(f"{type(error).__name__}: {error}"))
        return Sent("sent")

    def _connected(self) -> smtplib.SMTP:
        own = self._settings
        context = ssl.create_default_context(cadata=own.ca)
        server: smtplib.SMTP
        if own.security == "tls":
            server = smtplib.SMTP_SSL(own.host, own.port, timeout=own.answer_seconds, context=context)
        else:
            server = smtplib.SMTP(own.host, own.port, timeout=own.answer_seconds)
        try:
            if own.security == "starttls":
                server.starttls(context=context)  # raises where the server does not offer it
            if own.user:
                server.login(own.user, own.password)
        except BaseException:
            server.close()
            raise
        return server


def _refused(code: int, text: bytes | str) -> Sent:
    """4xx: try again later; 5xx: never (RFC 5321 4.2.1)."""
    said = shortened(f"{code} {shortened(text)}")
    return Sent("failed" if code >= 500 else "retry", said)


def compose(message: Message, sender: str, now: datetime) -> EmailMessage:
    """The letter; header values are checked by EmailMessage, which refuses line breaks."""
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = message.address
    letter["Subject"] = subject(message)
    letter["Date"] = format_datetime(now)
    letter["Message-ID"] = f"<{message.delivery}@{sender.rpartition('@')[2].rstrip('>')}>"
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    letter.set_content(body(message))
    return letter
