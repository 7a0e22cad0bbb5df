"""New names for a research project: keyed, so that nobody without the key can follow a patient from one to another.

A name is HMAC-SHA-256 of the project, what is named, and the platform's own pseudonym. Two projects have names that
nobody can join; the same project gives the same names again, so that a later export continues an earlier one. Whoever
holds the key can find a patient again, for a finding that must reach them: it is kept apart from the export.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

KEY_BYTES_MIN = 32
"""As long as the hash: a shorter key would be what somebody tries."""
NAME_HEX = 32  # 128 bits: no two of a billion patients are alike
WEEKS = 52
PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{1,63}")
_WEEK_MS = 7 * 86_400_000


class ExportError(ValueError):
    """An export that cannot be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The names of one project."""

    project: str
    key: bytes

    def __post_init__(self) -> None:
        if not PROJECT.fullmatch(self.project):
            raise ExportError(f"project {self.project!r}: 2 to 64 small letters, digits and hyphens")
        if len(self.key) < KEY_BYTES_MIN:
            raise ExportError(f"the key has {len(self.key)} bytes; {KEY_BYTES_MIN} at least")

    def _hash(self, what: str, name: str) -> bytes:
        # \0 stands in no project, word or pseudonym: two different pairs never make one message
        message = "\0".join((self.project, what, name)).encode()
        return hmac.new(self.key, message, hashlib.sha256).digest()

    def name(self, what: str, name: str) -> str:
        """The project's name of a patient, device or alert (`what`)."""
        return f"{what[0]}-{self._hash(what, name).hex()[:NAME_HEX]}"

    def shift_ms(self, patient: str) -> int:
        """By how much this patient's instants are moved back: whole weeks, 0 to 51, so that weekday, time of day and
        every distance stay, and no date can be looked up elsewhere."""
        return int.from_bytes(self._hash("shift", patient)[:8]) % WEEKS * _WEEK_MS


def read_key(path: Path) -> bytes:
    """The key in a file, as base64 (`openssl rand -base64 32`). Raises ExportError."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = base64.b64decode(text, validate=True)
    except OSError as error:
        raise ExportError(f"key file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, binascii.Error):
        raise ExportError(f"key file {path}: not base64; make one with `openssl rand -base64 32`") from None
    if len(key) < KEY_BYTES_MIN:
        raise ExportError(f"key file {path}: {len(key)} bytes; {KEY_BYTES_MIN} at least")
    return key
