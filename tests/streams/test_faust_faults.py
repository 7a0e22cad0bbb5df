"""What Faust is known to do wrong, in the source that is installed here: kept out, or made harmless.

docs/promise.md has the whole list with the tests of each; here are those that need no broker and stand nowhere else.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest

import streams
from scad.clock import Clock
from scad.settings import Settings
from streams import kafka, topics, transport
from streams.agents import COMMIT_SECONDS, make_app
from streams.transport import Batch
from streams.worker import DEAD_SECONDS, STUCK_SECONDS, Worker

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.parent / "path"))
from stand_in import StandInEngine
from test_transport import TELEMETRY, Bare, records

ROOT = Path(streams.__file__).parents[1]
UNUSED = {
    r"\.(hopping|tumbling|sliding)\(": "windowed tables lose late windows, corrupt overlapping ones and never expire",
    r"on_window_close|relative_to_": "is never given the data of the window",
    r"\.(noack_)?take\(": "acknowledges what a body raised on; its table writes have no event",
    r"SetTable|ChangeloggedSet": "hands its arguments over shifted at a rebalance",
    r"isolated_partitions": "crashes with more than one worker",
    r"exactly_once": "fences itself and sends outside of the transaction",
    r"\bpickle\b": "runs what a message says",
    r"PrometheusMonitor": "its histograms were wrong by 1,000; our metrics are our own",
    r"rocksdb|rocksdict": "two processes cannot open one folder",
    r"concurrency=[^1]": "acknowledgements commit past what is still being worked on",
    r"cache=True": "numba keeps constants of another module that have changed since",
}


@pytest.mark.parametrize("pattern", UNUSED)
def test_what_faust_does_wrong_is_not_used(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "streams").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line.partition("#")[0])
    ]
    assert found == [], UNUSED[pattern]


def test_the_version_of_faust_is_the_one_whose_source_was_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"faust-streaming=={transport.MADE_FOR}" in project["dependencies"]
    assert faust.__version__ == transport.MADE_FOR


@pytest.mark.parametrize("embedded", [False, True])
def test_the_application_is_set_up_against_what_stalls_and_leaks(embedded: bool, tmp_path: Path) -> None:
    settings = Settings(
        kafka="127.0.0.1:9", kafka_embedded=embedded, worker_id="w-1", partitions=12, data_dir=str(tmp_path)
    )

    async def look() -> tuple[Any, int, Any]:
        app = make_app(settings)
        return app.conf, app.fetch_wait_ms, app.slow_topics

    conf, fetch_wait_ms, slow = asyncio.run(look())
    assert conf.web_enabled is False
    assert str(conf.store) == "memory:"
    assert str(conf.processing_guarantee.value) == "at_least_once"
    assert conf.stream_wait_empty is False
    assert conf.topic_allow_declare is False
    assert conf.broker_commit_interval == COMMIT_SECONDS <= 3
    assert conf.broker_session_timeout <= 10 < conf.broker_request_timeout
    assert conf.broker_heartbeat_interval * 3 <= conf.broker_session_timeout
    assert conf.consumer_group_instance_id == (None if embedded else "w-1")
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.topic_partitions == 12
    assert fetch_wait_ms <= 50
    assert slow == {topics.BACKLOG}


def test_changelogs_are_compacted_only() -> None:
    """A changelog that retention empties cannot be recovered from."""
    specs = {spec.name: spec.config for spec in kafka.SPECS}
    for name in (kafka.PATIENTS_CHANGELOG, kafka.DEVICES_CHANGELOG):
        assert specs[name]["cleanup.policy"] == "compact"
        assert "retention.ms" not in specs[name]


def test_a_commit_that_fails_is_tried_again_with_all_that_is_done() -> None:
    async def main() -> None:
        consumer = Bare().at(10)
        answers = [False, True]

        async def commit(offsets: Any) -> bool:
            consumer.commits.append(dict(offsets))
            return answers.pop(0)

        consumer._commit = commit  # type: ignore[method-assign]
        first = Batch(TELEMETRY, 10, 12, records(10, 11), consumer.round)
        consumer.done(first)
        assert not await consumer.force_commit()
        consumer.done(Batch(TELEMETRY, 12, 13, records(12), consumer.round))
        assert await consumer.force_commit()
        assert consumer.commits == [{TELEMETRY: 12}, {TELEMETRY: 13}]
        assert not await consumer.force_commit(), "there is nothing left to commit"

    asyncio.run(main())


def test_a_worker_whose_commits_stand_still_is_not_ready_and_then_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        now = [1_000.0]
        monkeypatch.setattr(transport, "monotonic", lambda: now[0])
        consumer = Bare().at(10)
        consumer.app.slow_topics = frozenset()
        worker = Worker(Settings(), Clock(), StandInEngine())
        assert worker.why_not_ready() == "partitions are being taken over"
        worker._app = SimpleNamespace(batches=consumer)  # type: ignore[assignment]
        consumer.positioned.set()
        assert (worker.why_not_ready(), worker.why_dead()) == ("", "")
        await consumer._deliver(TELEMETRY, records(10, 11))
        now[0] += STUCK_SECONDS + 1
        assert "has waited 121 s for its commit" in worker.why_not_ready()
        assert worker.why_dead() == ""
        now[0] += DEAD_SECONDS - STUCK_SECONDS
        assert "has waited 601 s for its commit" in worker.why_dead()
        (batch,) = consumer.delivered
        consumer.done(batch)
        assert await consumer.force_commit()
        assert (worker.why_not_ready(), worker.why_dead()) == ("", "")

    asyncio.run(main())
