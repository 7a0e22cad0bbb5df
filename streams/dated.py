"""Versions of protocols as `scad.care-plans` carries them, checked like protocol files. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from devices.payload import json_decoder
from devices.times import BadTimeError
from streams.plans import PROTOCOL_KEY, ProtocolVersion
from streams.protocols import Library, ProtocolError, parse, parse_document
from streams.protocols.model import Dated

_decode_version = json_decoder(ProtocolVersion)


def is_protocol(key: str) -> bool:
    """Whether a key of `scad.care-plans` is a protocol's and no patient's."""
    return key.startswith(PROTOCOL_KEY)


def decode_version(message: bytes, key: str | None = None) -> Dated:
    """The value of a protocol's key, checked like a protocol file. Raises ProtocolError."""
    place = key or "a version of a protocol"
    try:
        return dated(_decode_version(message), place, key)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"{place}: {error}") from None


def dated(version: ProtocolVersion, place: str, key: str | None = None) -> Dated:
    """The protocol with the instant from which it holds. `place` names it in errors. Raises ProtocolError."""
    try:
        from_ms = version.from_ms
    except BadTimeError as error:
        raise ProtocolError(f"{place}: from: {error}") from None
    document = version.document
    protocol = parse(document, place) if isinstance(document, str) else parse_document(document, place)
    faults = [
        f"{place}: {field}: the record says {said!r} and its document {holds!r}"
        for field, said, holds in (
            ("protocol", version.protocol, protocol.name), ("version", version.version, protocol.version),
        )
        if said != holds
    ]  # fmt: skip
    if key is not None and key != version.key:
        faults.append(f"{place}: its key must be {version.key!r}")
    if faults:
        raise ProtocolError("\n".join(faults))
    return Dated(from_ms, protocol)


def published_with(library: Library, versions: Iterable[tuple[ProtocolVersion, str]]) -> Library:
    """The library with exactly these versions published; the text beside each names it in errors. Raises
    ProtocolError."""
    return library.with_published([dated(version, place) for version, place in versions])
