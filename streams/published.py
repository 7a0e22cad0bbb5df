"""Versions of protocols in `scad.care-plans`: their records, and the view that every worker has of all of them.

A protocol is nobody's in particular, so its versions cannot be keyed by patient: each has a key of its own,
`protocol:{protocol}:{version}`, and every worker reads all of them, whichever partitions of the topic are its.
A later record of a key takes the place of the one before; a record without value withdraws the version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import structlog

from devices.times import BadTimeError
from scad.settings import Settings
from streams import topics
from streams.plans import PROTOCOL_KEY, CarePlan, ProtocolVersion
from streams.protocols import Library, ProtocolError, parse, parse_document
from streams.protocols.model import Dated
from streams.views import CompactedView

log = structlog.get_logger()

VERSIONS_MAX = 500
"""Published versions that a worker holds, of all protocols together: one a month for each of six in seven years.
What is over is logged and not used; withdraw what no reading within the horizon can meet any more."""

_decode_plan = msgspec.json.Decoder(CarePlan).decode
_decode_version = msgspec.json.Decoder(ProtocolVersion).decode


def decode_plan(message: bytes) -> CarePlan:
    """The value of a patient's key. Raises msgspec.DecodeError."""
    return _decode_plan(message)


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


class PlansView(CompactedView[CarePlan]):
    """`scad.care-plans` as a whole: the plans by patient, and the versions of protocols.

    `protocols_changed` is called after each change of these; it must not fail.
    """

    def __init__(self, settings: Settings, *, client_id: str = "scad-plans") -> None:
        super().__init__(settings, topics.CARE_PLANS, decode_plan, client_id=client_id)
        self._versions: dict[str, Dated] = {}
        self._documents: dict[str, bytes] = {}
        self.protocols_changed: Callable[[], None] = lambda: None

    def published(self) -> list[Dated]:
        """Every version that stands, in no order."""
        return list(self._versions.values())

    def documents(self) -> dict[str, bytes]:
        """The records of the versions that stand, by key."""
        return dict(self._documents)

    def _apply(self, key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
        name = (key or b"").decode(errors="replace")
        if not is_protocol(name):
            super()._apply(key, value, partition, offset)
            return
        place = {"key": name, "partition": partition, "offset": offset}
        if value is None:
            if self._versions.pop(name, None) is not None:
                self._documents.pop(name)
                self.protocols_changed()
            return
        try:
            found = decode_version(value, name)
        except Exception as error:  # the agent of its partition puts it aside; here the view goes on
            log.error("view.poison_protocol", **place, error=type(error).__name__)
            return
        if name not in self._versions and len(self._versions) >= VERSIONS_MAX:
            log.error("view.full", **place, versions=len(self._versions))
            return
        if self._documents.get(name) == value:
            return
        self._versions[name], self._documents[name] = found, value
        self.protocols_changed()
