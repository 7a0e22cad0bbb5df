"""The subscription that all bridges share. Its name is a secret of theirs.

mosquitto grants every account every subscription, and checks when it delivers. It deals the messages of a share out to
the members in turn, and what it may not deliver to the one in turn is gone: a device that is in the share of the
bridges takes everybody's messages away. No access list prevents it, but nobody joins a share whose name is unknown.
"""

from __future__ import annotations

import hashlib
import hmac

from scad.settings import Settings
from streams.topics import MQTT_PREFIX

OPEN_NAME = "scad"
"""Of bridges without a password: there is no secret that all of them know."""
NAME_DIGITS = 32  # 128 bits: not to be guessed
TAG_DIGITS = 8  # tells one share from another, and does not lead back to its name


def share_name(settings: Settings) -> str:
    """The same for all bridges of one account. Never to be logged."""
    if settings.mqtt_share:
        return settings.mqtt_share
    if not settings.mqtt_password:
        return OPEN_NAME
    return f"{OPEN_NAME}-{_keyed(settings.mqtt_password, 'share of the bridges')[:NAME_DIGITS]}"


def subscriptions(settings: Settings) -> list[tuple[str, int]]:
    """What a bridge subscribes to: topic filter and quality of service."""
    prefix = f"$share/{share_name(settings)}/{MQTT_PREFIX}/+"
    return [(f"{prefix}/readings", 1), (f"{prefix}/status", 1)]


def client_id(settings: Settings) -> str:
    """The bridge's own, and another one for another share. A session remembers its subscriptions: one that was taken
    up again under another name would be a member of both shares for good, and get everything twice."""
    name, own = share_name(settings), f"scad-bridge-{settings.worker_id}"
    return own if name == OPEN_NAME else f"{own}-{_keyed(name, 'session of a bridge')[:TAG_DIGITS]}"


def _keyed(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
