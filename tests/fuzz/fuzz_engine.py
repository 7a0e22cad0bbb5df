"""What the decoders accept goes through the engine: it must not raise, and its state survives the disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import fuzz_messages as valid

from devices.readings import Reading
from streams.engine import Engine
from streams.plans import CarePlan
from streams.protocols import load_published
from streams.protocols.model import Library
from streams.signal import AlertSignal, decode_signal, encode_signal
from streams.state import PatientState


@cache
def library() -> Library:
    return load_published()


@cache
def engine() -> Engine:
    """Patients without a plan are on all six protocols."""
    return Engine(library(), valid.PROTOCOLS)


def check_signals(signals: Sequence[AlertSignal], first: int = 1) -> None:
    """Numbered without a gap, and what is written says the same when it is read."""
    assert [signal.n for signal in signals] == list(range(first, first + len(signals)))
    for signal in signals:
        assert decode_signal(encode_signal(signal)) == signal, signal
        assert all(signal.explanation.get(language) for language in ("fr", "en")), signal


def check_state(on: Engine, state: PatientState) -> None:
    """The state on disk is the state: loaded again it stands the same and writes the same bytes."""
    data = on.dump(state)
    again = on.load(state.patient, data)
    assert on.standing(again) == on.standing(state)
    assert on.next_deadline_ms(again) == on.next_deadline_ms(state)
    assert on.dump(again) == data


def engine_takes(
    readings: Sequence[Reading], plans: Sequence[CarePlan] = (), on: Engine | None = None
) -> None:
    """Evaluate readings together with ticks; then the other way round, which must end the same."""
    if not readings and not plans:
        return
    on = on or engine()
    patient = plans[0].patient if plans else valid.PATIENT
    ahead_ms = max([valid.NOW_MS, *(r.received_at_ms for r in readings)]) + 3 * valid.DAY_MS
    state = on.new_state(patient)
    signals = on.apply(state, readings, plans)
    check_state(on, state)
    signals += on.apply(state, tick_ms=ahead_ms)
    check_signals(signals)
    check_state(on, state)
    other = on.new_state(patient)
    for reading in reversed(readings):
        on.apply(other, [reading])
    on.apply(other, plans=plans)
    on.apply(other, tick_ms=ahead_ms)
    assert _without_number(on, other) == _without_number(on, state), (
        "the order of arrival changes what stands"
    )


def _without_number(on: Engine, state: PatientState) -> list[object]:
    return list(on.standing(state))
