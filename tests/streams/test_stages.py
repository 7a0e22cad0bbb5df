"""How old a reading is at each stage, and how long a takeover was: what the metrics say of known times."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from devices.readings import Reading, to_wire
from streams import metrics, stages, topics
from streams.transport import TP, BatchConsumer

RECEIVED_MS = 1_780_000_000_000
WRITTEN_MS = RECEIVED_MS + 700


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Any:
    return SimpleNamespace(value=value, headers=headers, timestamp=WRITTEN_MS)


READING = to_wire(
    Reading(
        device="sc-1", epoch=0, seq=1, patient="p-1", kind="body-weight", values={"value": 80.0},
        measured_at_ms=RECEIVED_MS - 5_000, received_at_ms=RECEIVED_MS,
    )
)  # fmt: skip


def test_the_age_counts_from_what_the_bridge_wrote_into_header_or_reading():
    header = (topics.HEADER_RECEIVED_AT, b"2026-05-28T20:26:40Z")
    assert stages.received_ms(record(b"anything", header)) == RECEIVED_MS
    assert stages.received_ms(record(READING)) == RECEIVED_MS
    assert stages.age_s(record(READING), RECEIVED_MS + 2_500) == 2.5
    assert stages.age_s(record(READING), RECEIVED_MS - 1) == 0, "two machines' clocks may differ"


@given(value=st.none() | st.binary(max_size=60), header=st.binary(max_size=30))
def test_whatever_a_record_holds_it_has_an_age(value: bytes | None, header: bytes):
    damaged = record(value, (topics.HEADER_RECEIVED_AT, header))
    assert isinstance(stages.received_ms(damaged), int)


@pytest.mark.parametrize(
    "value", [None, b"", b"[1]", b'{"received_at": 7}', b'{"received_at": "soon"}', b"\xff"]
)
def test_a_record_that_says_nothing_counts_from_when_it_was_written(value: bytes | None):
    assert stages.received_ms(record(value)) == WRITTEN_MS


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_batch_is_counted_once_at_its_stage_with_the_age_of_its_first_reading():
    before = [sample(f"scad_stage_seconds_{what}", stage="evaluated") for what in ("count", "sum")]
    stages.passed("evaluated", record(READING), RECEIVED_MS + 4_000)
    after = [sample(f"scad_stage_seconds_{what}", stage="evaluated") for what in ("count", "sum")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, pytest.approx(4)]


class TakenOver(BatchConsumer):
    """Only what positions need: no Faust, no broker."""

    def __init__(self) -> None:
        self._own_state()
        self.app: Any = SimpleNamespace(
            conf=SimpleNamespace(broker_rebalance_timeout=1.0),
            flow_control=SimpleNamespace(suspend=lambda: None),
        )
        self._thread: Any = SimpleNamespace(call_thread=self._call, seek_committed="seek")

    def assignment(self) -> set[TP]:
        return set()

    def _is_changelog_tp(self, tp: TP) -> bool:
        return False

    async def _call(self, *_: Any) -> dict[TP, int]:
        return {}

    async def maybe_wait_for_commit_to_finish(self) -> bool:
        return False

    async def commit(self, *_: Any, **__: Any) -> bool:
        return True


def test_a_takeover_is_counted_and_timed_once_however_often_positions_are_taken(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("streams.transport.monotonic", lambda: now[0])

    async def main() -> None:
        consumer = TakenOver()
        before = sample("scad_worker_takeovers_total")
        now[0] += 7
        await consumer.perform_seek()
        assert sample("scad_worker_takeovers_total") - before == 1
        assert sample("scad_worker_recovery_seconds") == 7
        now[0] += 60
        await consumer.perform_seek()
        assert sample("scad_worker_takeovers_total") - before == 1
        now[0] += 60
        await consumer.drain()
        now[0] += 2
        await consumer.drain()
        now[0] += 1.5
        await consumer.perform_seek()
        assert sample("scad_worker_takeovers_total") - before == 2
        assert sample("scad_worker_recovery_seconds") == 3.5

    asyncio.run(main())


@pytest.mark.parametrize(("text", "said"), [("1073741824\n", [2**30]), ("max\n", []), (None, [])])
def test_a_containers_memory_limit_is_told_where_there_is_one(tmp_path, text: str | None, said: list[float]):
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    (family,) = metrics.MemoryLimit(path).collect()
    assert [found.value for found in family.samples] == said
