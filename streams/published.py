"""The view that every worker has of the whole of `scad.care-plans`.

A protocol is nobody's in particular, so its versions cannot be keyed by patient: each has a key of its own,
`protocol:{protocol}:{version}`, and every worker reads all of them, whichever partitions of the topic are its.
A later record of a key takes the place of the one before; a record without value withdraws the version.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from devices.payload import json_decoder
from scad.settings import Settings
from streams import topics
from streams.dated import decode_version, is_protocol
from streams.plans import CarePlan
from streams.protocols.model import Dated
from streams.views import CompactedView

log = structlog.get_logger()

VERSIONS_MAX = 500
"""Published versions that a worker holds, of all protocols together: one a month for each of six in seven years.
What is over is logged and not used; withdraw what no reading within the horizon can meet any more."""

_decode_plan = json_decoder(CarePlan)


def decode_plan(message: bytes) -> CarePlan:
    """The value of a patient's key. Raises msgspec.DecodeError, or BadTimeError for a version whose `from` is no
    instant: whoever has the plan may ask what holds when."""
    plan = _decode_plan(message)
    for version in plan.versions:
        _ = version.from_ms
    return plan


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
