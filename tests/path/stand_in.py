"""A stand-in for the engine, so that the tests of the worker count exactly: every reading once.

The state is the set of identities seen and how often each was applied; every tenth reading raises a signal.
A reading of kind `symptoms` with `fatigue` 3 makes it raise, as a fault in a rule would.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from devices.readings import Reading
from devices.times import format_instant
from streams.plans import CarePlan
from streams.protocols import Library
from streams.signal import AlertSignal

SIGNAL_EVERY = 10


class Counted(msgspec.Struct):
    """How often each identity was applied; repeats by the device are not told apart from ours."""

    patient: str
    seen: dict[str, int] = {}
    n: int = 0
    ticks: int = 0
    plans: list[int] = []
    deadline_ms: int | None = None


class StandInEngine:
    """Has the interface of streams.engine.Engine."""

    def __init__(self) -> None:
        self.library = Library()

    @property
    def stamp(self) -> int:
        return self.library.stamp

    def use(self, library: Library) -> None:
        self.library = library

    def new_state(self, patient: str) -> Counted:
        return Counted(patient)

    def apply(
        self,
        state: Counted,
        readings: Iterable[Reading] = (),
        plans: Iterable[CarePlan] = (),
        tick_ms: int | None = None,
    ) -> list[AlertSignal]:
        signals = []
        for plan in plans:
            state.plans.append(plan.versions[-1].version)
            state.deadline_ms = plan.versions[-1].from_ms
        for reading in readings:
            if reading.values.get("fatigue") == 3:
                raise ZeroDivisionError("a fault in a rule")
            name = f"{reading.device}/{reading.epoch}/{reading.seq}"
            state.seen[name] = state.seen.get(name, 0) + 1
            if len(state.seen) % SIGNAL_EVERY == 0 and state.seen[name] == 1:
                signals.append(self._signal(state, reading.measured_at_ms))
        if tick_ms is not None:
            state.ticks += 1
            state.deadline_ms = None
            signals.append(self._signal(state, tick_ms))
        return signals

    @staticmethod
    def _signal(state: Counted, at_ms: int) -> AlertSignal:
        state.n += 1
        return AlertSignal(
            cls="clinical",
            alert=f"{state.patient}-{state.n}",
            patient=state.patient,
            protocol="stand-in",
            protocol_version="1",
            rule="tenth",
            severity="low",
            state="raised",
            at=format_instant(at_ms),
            explanation={"en": f"{len(state.seen)} readings"},
            n=state.n,
        )

    def next_deadline_ms(self, state: Counted) -> int | None:
        return state.deadline_ms

    def dump(self, state: Counted) -> bytes:
        return msgspec.msgpack.encode(state)

    def load(self, patient: str, data: bytes) -> Any:
        return msgspec.msgpack.decode(data, type=Counted)
