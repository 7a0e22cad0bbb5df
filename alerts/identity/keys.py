"""Secret keys from a file: master keys that wrap other secrets (identities' data keys, authenticators' secrets).

The file has one key a line, `NUMBER KEY`: a number from 1 on and 32 random bytes in base64. The highest number wraps
what is new, the others still open what is old; a line may go when nothing is wrapped by it any more. Lines that begin
with # say what they want.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32  # AES-256
NONCE_BYTES = 12  # 96 random bits, GCM's own length: good for 2**32 messages of one key
_NUMBER_BYTES = 2
NUMBER_MAX = 2 ** (8 * _NUMBER_BYTES) - 1
FILE_MAX_BYTES = 64 * 1024  # some 1,000 keys; more is no key file


class KeyFileError(ValueError):
    """The key file cannot be used, or has not the key that a secret was wrapped by; the message says what to do."""


class MasterKeys:
    """The keys of one file by number. What is wrapped carries the number of its key."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(keys)
        self.current = max(self._keys)

    def __repr__(self) -> str:  # never the keys
        return f"MasterKeys({sorted(self._keys)})"

    @property
    def numbers(self) -> list[int]:
        return sorted(self._keys)

    def wrap(self, secret: bytes, purpose: str, context: str) -> bytes:
        """AES-256-GCM of `secret` under the newest key.

        `purpose` separates the uses of a master key (each has a key of its own, by HKDF); `context` says whose secret
        it is and must be given again to open it, so that nobody can exchange two rows.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self.derive(purpose)).encrypt(nonce, secret, context.encode())
        return self.current.to_bytes(_NUMBER_BYTES, "big") + nonce + sealed

    def unwrap(self, wrapped: bytes, purpose: str, context: str) -> bytes:
        """What `wrap` was given. Raises KeyFileError: its key is not in the file, or the bytes were altered."""
        number = number_of(wrapped)
        nonce = wrapped[_NUMBER_BYTES : _NUMBER_BYTES + NONCE_BYTES]
        try:
            key = self.derive(purpose, number)
            return AESGCM(key).decrypt(nonce, wrapped[_NUMBER_BYTES + NONCE_BYTES :], context.encode())
        except (InvalidTag, ValueError) as error:
            if isinstance(error, KeyFileError):
                raise
            raise KeyFileError(
                f"a secret ({purpose}, {context}) does not open with key {number}: it was altered, or the key file is"
                " of another installation"
            ) from None

    def derive(self, purpose: str, number: int | None = None) -> bytes:
        """32 bytes for one purpose from a master key (HKDF-SHA256, RFC 5869); the newest unless told otherwise."""
        wanted = self.current if number is None else number
        try:
            return _derive(self._keys[wanted], purpose)
        except KeyError:
            raise KeyFileError(
                f"key {wanted} is not in the key file (it has {', '.join(map(str, self.numbers))}): put it back"
            ) from None


@lru_cache(maxsize=256)
def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"scad {purpose}".encode()).derive(key)


def number_of(wrapped: bytes) -> int:
    """Which master key wrapped this."""
    return int.from_bytes(wrapped[:_NUMBER_BYTES], "big")


def parse_master_key(text: str, source: str = "the key file") -> MasterKeys:
    """The keys of a file's text. Raises KeyFileError that names the line, never its content."""
    keys: dict[int, bytes] = {}
    for place, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{source}, line {place}"
        if len(words) != 2 or not words[0].isdecimal() or not 1 <= int(words[0]) <= NUMBER_MAX:
            raise KeyFileError(
                f"{where}: not a number and a key; `scad identity make-key` writes such a line"
            )
        try:
            key = base64.b64decode(words[1], validate=True)
        except binascii.Error:
            raise KeyFileError(f"{where}: the key is not base64") from None
        if len(key) != KEY_BYTES:
            raise KeyFileError(f"{where}: the key has {len(key)} bytes, not {KEY_BYTES}")
        if int(words[0]) in keys:
            raise KeyFileError(f"{where}: number {words[0]} stands there twice")
        keys[int(words[0])] = key
    if not keys:
        raise KeyFileError(f"{source}: no key in it; `scad identity make-key` makes one")
    return MasterKeys(keys)


def read_master_key(path: str | Path) -> MasterKeys:
    """The keys of a file. Raises KeyFileError."""
    try:
        if Path(path).stat().st_size > FILE_MAX_BYTES:
            raise KeyFileError(f"{path}: larger than {FILE_MAX_BYTES} bytes; this is no key file")
        return parse_master_key(Path(path).read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not text"
        raise KeyFileError(f"{path}: {said}") from None


def make_master_key(number: int = 1) -> str:
    """A line with a new random key, for a key file."""
    return f"{number} {base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n"
