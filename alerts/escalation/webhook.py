"""A signed webhook: JSON by POST, an HMAC over time and body, so that a receiver knows who sent it and when.

docs/escalation.md shows how to verify it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from datetime import datetime

import aiohttp
import msgspec

from alerts.escalation.message import ATTEMPT_SECONDS, Message, Sent, shortened

SECRET_CHARACTERS_MIN = 32
"""Of the shared secret: as hexadecimal 128 bits, which nobody guesses."""
ANSWER_BYTES_MAX = 1_024  # of the receiver's answer that is read, for the record
SCHEME = "v1"

_AGAIN = frozenset({408, 425, 429})  # 4xx that mean "later"


class Webhook:
    """The channel `webhook`; an address is a URL."""

    def __init__(self, secret: str, ca: str | None = None, seconds: float = ATTEMPT_SECONDS) -> None:
        self._secret = secret.encode()
        self._ca = ca
        self._seconds = seconds

    async def send(self, message: Message, now: datetime) -> Sent:
        """One request. Redirects are not followed: the signature is for this address's owner."""
        content = payload(message)
        timestamp = int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "scad",
            "X-SCAD-Delivery": str(message.delivery),
            "X-SCAD-Timestamp": str(timestamp),
            "X-SCAD-Signature": f"{SCHEME}={sign(self._secret, timestamp, content)}",
        }
        limit = aiohttp.ClientTimeout(total=self._seconds)
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=self._ca))
        try:
            async with (
                asyncio.timeout(self._seconds),
                aiohttp.ClientSession(connector=connector, timeout=limit) as session,
                session.post(message.address, data=content, headers=headers, allow_redirects=False) as answer,
            ):
                said = shortened(await answer.content.read(ANSWER_BYTES_MAX))
                return _judge(answer.status, said)
        except TimeoutError:
            return Sent("retry", f"no answer within {self._seconds:g} s")
        except aiohttp.InvalidURL as error:
            return Sent("failed", shortened(f"not a URL: {error}"))
        except (aiohttp.ClientError, OSError) as error:
            return Sent("retry", shortened(f"{type(error).__name__}: {error}"))


def _judge(status: int, said: str) -> Sent:
    if 200 <= status < 300:
        return Sent("sent", str(status))
    again = status >= 500 or status in _AGAIN
    return Sent("retry" if again else "failed", shortened(f"{status} {said}".strip()))


def payload(message: Message) -> bytes:
    """What is posted: counts and a link, no patient."""
    counts = message.counts
    about: dict[str, object] = {"accesses": counts.accesses}
    if message.kind != "glass":
        about = {
            "alerts": counts.alerts,
            "patients": counts.patients,
            "by_severity": counts.by_severity,
            "by_level": {str(level): number for level, number in counts.by_level.items()},
        }
    return msgspec.json.encode(
        {
            "v": 1,
            "delivery": message.delivery,
            "kind": message.kind,
            "care_team": message.team,
            "person": message.person,
            **about,
            "link": message.link,
            "created_at": message.created_at,
        }
    )


def sign(secret: bytes, timestamp: int, content: bytes) -> str:
    """Hexadecimal HMAC-SHA256 (RFC 2104) of the timestamp's digits, a full stop, and the body."""
    return hmac.new(secret, b"%d." % timestamp + content, hashlib.sha256).hexdigest()
