"""One worker and several, killed, paused and restarted in the middle of their work."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import msgspec
import pytest
from deployment import (
    T0_MS,
    Deployment,
    Reader,
    Running,
    assign,
    assignments,
    load,
    publish,
    reading,
    run,
    telemetry,
)

from devices.times import format_instant, parse_instant
from streams import kafka, topics
from streams.kafka import Record

PATIENTS = 100
EACH = 200  # 20,000 readings in all


def canonical(patients: int, seqs: Sequence[int]) -> list[Record]:
    """Records of scad.readings, past the intake, so that each is there exactly once."""
    records = []
    for seq in seqs:
        for index in range(patients):
            of = {"patient": f"p-{index}", "received_at": format_instant(T0_MS + 86_400_000)}
            value = msgspec.json.encode(reading(f"d-{index}", seq) | of)
            records.append(Record(topics.READINGS, f"p-{index}".encode(), value))
    return records


def assert_each_once(reader: Reader, patients: int, each: int) -> None:
    states = reader.states()
    assert {
        name: sorted(map(int, (key.split("/")[2] for key in state.seen))) for name, state in states.items()
    } == {f"p-{index}": list(range(each)) for index in range(patients)}
    assert {count for state in states.values() for count in state.seen.values()} == {1}


def assert_signals_without_gap(reader: Reader, patients: int, each: int) -> None:
    """Every signal is there, numbered from 1; what is there twice is the same twice; new ones rise in order."""
    contents: dict[tuple[str, int], bytes] = {}
    highest: dict[str, int] = {}
    for record in reader.records[topics.ALERTS]:
        value = msgspec.json.decode(record.value)
        patient, n = value["patient"], value["n"]
        assert contents.setdefault((patient, n), record.value) == record.value
        assert n <= highest.get(patient, 0) + 1
        highest[patient] = max(n, highest.get(patient, 0))
    assert highest == {f"p-{index}": each // 10 for index in range(patients)}


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_applies_every_reading_once(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        most = EACH * 9 // 10
        await publish(settings, canonical(PATIENTS, range(most)))
        async with Reader(settings, topics.ALERTS, kafka.PATIENTS_CHANGELOG) as reader:
            worker = deployment.worker()
            for share in (0.2, 0.5, 0.8):
                await reader.until(lambda s=share: reader.applied() >= s * PATIENTS * EACH, f"{share:.0%}")
                worker.kill()
                worker = deployment.worker()
            await publish(settings, canonical(PATIENTS, range(most, EACH)))  # the last one has work as well
            await reader.until(lambda: reader.applied() == PATIENTS * EACH, "the end")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, PATIENTS, EACH)
            assert_signals_without_gap(reader, PATIENTS, EACH)

    run(main())


@pytest.mark.slow
def test_workers_that_come_and_go_share_the_patients_without_loss(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(PATIENTS, range(20)))
        async with Reader(settings, topics.ALERTS, kafka.PATIENTS_CHANGELOG) as reader:
            first = deployment.worker("w1")
            await reader.until(lambda: reader.applied() == PATIENTS * 20, "one worker")
            second = deployment.worker("w2")
            done = 20
            for part in range(9):
                await publish(settings, canonical(PATIENTS, range(done, done + 20)))
                done += 20
                if part == 2:
                    assert first.stop() == 0, first.tail()
                if part == 4:
                    first = deployment.worker("w1")
                if part == 6:
                    second.kill()
                await reader.until(
                    lambda: reader.applied() == PATIENTS * done,  # noqa: B023 - asked within this turn
                    f"part {part}: {done} of each",
                )
            assert first.stop() == 0, first.tail()
            await reader.quiet()
            assert_each_once(reader, PATIENTS, done)
            assert_signals_without_gap(reader, PATIENTS, done)

    run(main())


@pytest.mark.slow
def test_a_worker_paused_past_its_session_writes_nothing_over_its_successors_work(
    deployment: Deployment,
) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(PATIENTS, range(20)))
        async with Reader(settings, topics.ALERTS, kafka.PATIENTS_CHANGELOG) as reader:
            paused = deployment.worker("w1")
            other = deployment.worker("w2")
            await reader.until(lambda: reader.applied() == PATIENTS * 20, "both at work")
            await publish(settings, canonical(PATIENTS, range(20, 160)))
            await reader.until(lambda: reader.applied() >= PATIENTS * 40, "in the middle")
            paused.send(signal.SIGSTOP)
            await reader.until(lambda: reader.applied() == PATIENTS * 160, "the other one alone")
            paused.send(signal.SIGCONT)
            await publish(settings, canonical(PATIENTS, range(160, EACH)))
            await reader.until(lambda: reader.applied() == PATIENTS * EACH, "both again")
            for worker in (paused, other):
                assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, PATIENTS, EACH)
            assert_signals_without_gap(reader, PATIENTS, EACH)

    run(main())


def _running(*workers: Running) -> None:
    for worker in workers:
        assert worker.running, worker.tail()


@pytest.mark.slow
def test_a_broker_that_goes_away_is_waited_for(deploy, start_kafka) -> None:
    broker = start_kafka(1)
    deployment = deploy(kafka=broker.bootstrap)

    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(PATIENTS, range(100)))
        async with Reader(settings, topics.ALERTS, kafka.PATIENTS_CHANGELOG) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() >= PATIENTS * 10, "at work")
            broker.kill()
            broker.restart()
            await publish(settings, canonical(PATIENTS, range(100, EACH)))
            await reader.until(lambda: reader.applied() == PATIENTS * EACH, "the end")
            _running(worker)
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, PATIENTS, EACH)
            assert_signals_without_gap(reader, PATIENTS, EACH)

    run(main())


def test_what_cannot_be_worked_on_is_put_aside_and_the_stream_goes_on(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        of = {"patient": "p-0", "received_at": format_instant(T0_MS)}
        faulty = reading("d-0", 900, kind="symptoms", values={"fatigue": 3}) | of
        bad = [
            Record(topics.READINGS, b"p-0", b"{broken"),
            Record(topics.READINGS, b"p-0", msgspec.json.encode(faulty)),
            Record(topics.READINGS, b"\xff", msgspec.json.encode(reading("d-0", 901) | of)),
            Record(topics.CARE_PLANS, b"p-0", b'{"patient":"p-0"}'),
            Record(topics.TELEMETRY, b"\xff", b"{}"),
        ]
        await publish(settings, canonical(2, range(15)) + bad + canonical(2, range(15, 30)))
        async with Reader(settings, topics.QUARANTINE, kafka.PATIENTS_CHANGELOG, topics.ALERTS) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 60, "all good readings")
            await reader.until(lambda: len(reader.records[topics.QUARANTINE]) == len(bad), "all bad records")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, 2, 30)
            assert_signals_without_gap(reader, 2, 30)
            details = sorted(value["detail"] for value in reader.values(topics.QUARANTINE))
            assert [detail.split("[")[0] for detail in details] == [
                topics.CARE_PLANS,
                *[topics.READINGS] * 3,
                topics.TELEMETRY,
            ]
            assert sum("ZeroDivisionError" in detail for detail in details) == 1
            assert all("]@" in detail for detail in details)

    run(main())


def test_a_plan_sets_a_deadline_and_the_passing_of_time_raises_a_signal(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        plan = {
            "patient": "p-0",
            "versions": [{"version": 3, "from": "2026-01-01T00:00:00Z", "protocols": []}],
        }
        record = Record(topics.CARE_PLANS, b"p-0", msgspec.json.encode(plan))
        await publish(settings, [record, *canonical(1, range(5))])
        async with Reader(settings, topics.ALERTS, kafka.PATIENTS_CHANGELOG) as reader:
            worker = deployment.worker()
            await reader.until(lambda: bool(reader.records[topics.ALERTS]), "a tick")
            await reader.until(lambda: reader.applied() == 5, "the readings")
            worker.kill()
            worker = deployment.worker()  # takes the deadlines over; there is none any more
            await publish(settings, canonical(1, range(5, 8)))
            await reader.until(lambda: reader.applied() == 8, "more readings")
            assert worker.stop() == 0, worker.tail()
            state = reader.states()["p-0"]
            assert (state.plans, state.ticks) == ([3], 1)

    run(main())


@pytest.mark.slow
def test_intake_killed_in_the_middle_loses_nothing_and_gives_receipts_for_all(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, assignments(PATIENTS) + load(PATIENTS, range(EACH), size=5))
        async with Reader(settings, topics.READINGS, topics.RECEIPTS, kafka.PATIENTS_CHANGELOG) as reader:
            worker = deployment.worker()
            for share in (0.3, 0.7):
                await reader.until(
                    lambda s=share: len(reader.records[topics.READINGS]) >= s * PATIENTS * EACH,
                    f"{share:.0%}",
                )
                worker.kill()
                worker = deployment.worker()

            def receipted() -> bool:
                through = {
                    value["device"]: value["receipt"]["through"] for value in reader.values(topics.RECEIPTS)
                }
                return len(through) == PATIENTS and set(through.values()) == {EACH - 1}

            await reader.until(receipted, "receipts for all")
            await reader.until(lambda: reader.applied() == PATIENTS * EACH, "all evaluated")
            assert worker.stop() == 0, worker.tail()
            known = {(value["device"], value["seq"]) for value in reader.values(topics.READINGS)}
            assert len(known) == PATIENTS * EACH

    run(main())


def test_a_reading_belongs_to_whom_the_device_was_assigned_when_it_was_measured(
    deployment: Deployment,
) -> None:
    async def main() -> None:
        settings = deployment.settings
        moved = "2026-10-01T00:00:00Z"
        records = [
            assign("d-0", [("p-old", "2026-01-01T00:00:00Z", moved), ("p-new", moved, None)]),
            telemetry("d-0", msgspec.json.encode(reading("d-0", 1))),
            telemetry("d-0", msgspec.json.encode(reading("d-0", 2, parse_instant(moved)[0])), T0_MS * 2),
            telemetry("d-0", msgspec.json.encode(reading("d-0", 3, T0_MS - 400 * 86_400_000))),
            telemetry("d-9", msgspec.json.encode(reading("d-9", 1))),
            telemetry("d-0", b"[{broken"),
        ]
        await publish(settings, records)
        async with Reader(settings, topics.READINGS, topics.QUARANTINE, topics.RECEIPTS) as reader:

            def through(device: str) -> int | None:
                told = [
                    value["receipt"] for value in reader.values(topics.RECEIPTS) if value["device"] == device
                ]
                return told[-1]["through"] if told else None

            worker = deployment.worker()
            await reader.until(lambda: len(reader.records[topics.READINGS]) == 2, "readings")
            await reader.until(lambda: len(reader.records[topics.QUARANTINE]) == 3, "refusals")
            await reader.until(lambda: through("d-0") == 3 and through("d-9") == 1, "receipts")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            owners = {value["seq"]: value["patient"] for value in reader.values(topics.READINGS)}
            assert owners == {1: "p-old", 2: "p-new"}
            reasons = sorted(value["reason"] for value in reader.values(topics.QUARANTINE))
            assert reasons == ["not-assigned", "not-json", "unknown-device"]
            assert through("d-0") == 3
            named = [
                item for value in reader.values(topics.RECEIPTS) for item in value["receipt"]["rejected"]
            ]
            assert {"seq": None, "reason": "not-json"} in named
            assert {"seq": 3, "reason": "not-assigned"} in named

    run(main())
