"""The promise of the engine: order, delay, repetition and batching do not change what stands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import history
from streams.engine import Engine
from streams.protocols import load_published
from streams.signal import StandingEpisode, fold
from tests.streams.histories import PATIENT, Told, told

LIBRARY = load_published()
EXAMPLES = 350  # for each of six protocols: 2,100 histories a run


def in_order(story: Told, protocol: str) -> list[StandingEpisode]:
    """The definition: the plan first, then each reading once, sorted by when it was measured, then the clock."""
    engine = Engine(LIBRARY, (protocol,), retention_ms=None)
    state = engine.new_state(PATIENT)
    if story.plan is not None:
        engine.apply(state, plans=[story.plan])
    for reading in sorted(story.readings, key=lambda r: (r.order, repr(r.values))):
        engine.apply(state, [reading])
    engine.apply(state, tick_ms=story.until_ms)
    return engine.standing(state)


@pytest.mark.parametrize("protocol", sorted(LIBRARY.protocols))
def test_however_a_history_arrives_the_same_episodes_stand_and_the_signals_fold_to_them(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BLOCK", 4)  # so that short histories lie packed, and are unpacked, as well
    monkeypatch.setattr(history, "PIECE", 2)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(told(protocol))
    def holds(story: Told) -> None:
        # Checkpoints close together, so that short histories have several; silence both ways; nothing is
        # forgotten (test_late_data does that), because `standing` says only what is kept.
        by_ticks = len(story.arrivals) % 2 == 0
        engine = Engine(LIBRARY, (protocol,), None, checkpoint_every=3, silence_by_ticks=by_ticks)
        state = engine.new_state(PATIENT)
        folded: dict[str, StandingEpisode] = {}
        numbers = []
        for arrival in story.arrivals:
            if arrival.restart:
                state = engine.load(PATIENT, engine.dump(state))
            plans = [] if arrival.plan is None else [arrival.plan]
            signals = engine.apply(state, arrival.readings, plans, arrival.tick_ms)
            for signal in signals:
                numbers.append(signal.n)
                fold(folded, signal)
            standing = engine.standing(state)
            assert sorted(folded.values(), key=by_alert) == sorted(standing, key=by_alert)
        assert numbers == list(range(1, len(numbers) + 1))
        assert engine.standing(state) == in_order(story, protocol)

    holds()


def by_alert(episode: StandingEpisode) -> str:
    return episode.alert


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_state_read_back_from_disk_is_written_the_same(data: st.DataObject) -> None:
    protocol = data.draw(st.sampled_from(sorted(LIBRARY.protocols)))
    story = data.draw(told(protocol))
    engine = Engine(LIBRARY, (protocol,))
    state = engine.new_state(PATIENT)
    for arrival in story.arrivals:
        engine.apply(state, arrival.readings, [] if arrival.plan is None else [arrival.plan], arrival.tick_ms)
    written = engine.dump(state)
    assert engine.dump(engine.load(PATIENT, written)) == written
