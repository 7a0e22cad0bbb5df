"""The channels behind one interface: a message goes out, and what came of it is one of four words.

A message says how many alerts wait and where to look: never who is ill. A channel never raises for what the
other side does; it says whether another attempt can help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from alerts.escalation.mail import Mail, MailSettings
from alerts.escalation.message import Counts, Kind, Message, Outcome, Sent
from alerts.escalation.webhook import Webhook
from scad.settings import Settings, refuse
from scad.settings_checks import mail_faults, webhook_faults

__all__ = ["Channel", "Channels", "Counts", "Kind", "Message", "Outcome", "Sent"]


class Channel(Protocol):
    """One way to tell somebody."""

    async def send(self, message: Message, now: datetime) -> Sent:
        """Try once, within ATTEMPT_SECONDS. Raises nothing for what the other side does."""
        ...


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels that are set up, by name. `page` is the address that messages point to."""

    page: str
    channels: Mapping[str, Channel]

    @classmethod
    def from_settings(cls, settings: Settings) -> Channels:
        """Raises SettingsError for settings that contradict each other."""
        channels: dict[str, Channel] = {}
        mail = mail_settings(settings)
        if mail is not None:
            channels["mail"] = Mail(mail)
        if settings.webhook_secret:
            refuse(webhook_faults(settings))
            channels["webhook"] = Webhook(settings.webhook_secret, settings.webhook_ca or None)
        return cls(settings.page_url, channels)

    async def send(self, message: Message, now: datetime) -> Sent:
        channel = self.channels.get(message.channel)
        if channel is None:
            return Sent("off", f"{message.channel} is not set up")
        return await channel.send(message, now)


def mail_settings(settings: Settings) -> MailSettings | None:
    """None: no server is named. Raises SettingsError."""
    if not settings.smtp_host:
        return None
    refuse(mail_faults(settings))
    return MailSettings(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        sender=settings.smtp_from,
        user=settings.smtp_user,
        password=settings.smtp_password,
        ca=settings.smtp_ca or None,
    )
