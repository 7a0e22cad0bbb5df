"""Workers of a release with another state format replace those of the one before, one by one, without a gap."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired

import msgspec
import pytest
from deployment import Deployment, Reader, Running, publish, run

from devices.readings import from_wire
from devices.times import format_instant
from streams import kafka, topics
from streams.engine import Engine
from streams.kafka import Record
from streams.plans import CarePlan
from streams.protocols import load_published
from streams.record import load_state
from streams.signal import AlertSignal, StandingEpisode, decode_signal, fold
from streams.stored import FORMAT, unpack
from streams.tables import Token, decode_key

EARLIER = Path(__file__).parent / "earlier_worker.py"
DAY_MS = 86_400_000
BEGIN_MS = (
    int(time.time() * 1000) - 6 * DAY_MS
)  # what is measured must lie within the horizon of the workers' clock
STEP_MS = DAY_MS // 24
ENGINE = Engine(load_published(), silence_by_ticks=True)
READINGS_MAX = 60  # two minutes to take a partition over
PATIENTS = tuple(f"p-{number}" for number in range(24))


def weight(patient: str, seq: int) -> bytes:
    """A weighing every hour: 0.7 kg more each time, and as before again after eight."""
    at = format_instant(BEGIN_MS + seq * STEP_MS)
    value = {"v": 1, "device": f"s-{patient}", "seq": seq, "kind": "body-weight", "measured_at": at,
             "received_at": at, "values": {"weight": 80 + seq % 8 * 0.7}, "patient": patient}  # fmt: skip
    return msgspec.json.encode(value)


def weights(*seqs: int) -> list[Record]:
    return [
        Record(topics.READINGS, patient.encode(), weight(patient, seq))
        for seq in seqs
        for patient in PATIENTS
    ]


def plan(patient: str) -> bytes:
    version = {"version": 1, "from": format_instant(BEGIN_MS), "protocols": ["heart-failure"],
               "schedule": {"body-weight": {"every_hours": 120}}}  # fmt: skip
    return msgspec.json.encode({"patient": patient, "versions": [version]})


def plans() -> list[Record]:
    return [Record(topics.CARE_PLANS, patient.encode(), plan(patient)) for patient in PATIENTS]


def _form_and_readings(patient: str, data: bytes) -> tuple[int, int]:
    lanes = ENGINE.load(patient, data).lanes.values()
    return unpack(data)[0].format, sum(len(lane.history.observations) for lane in lanes)


class Told(Reader):
    """What the workers have said, and in what form they have kept it."""

    def kept(self) -> dict[str, tuple[int, int]]:
        """Format of each patient's state as recovery would find it, and how many readings are in it."""
        best: dict[str, tuple[Token, bytes]] = {}
        for record in self.records[kafka.PATIENTS_CHANGELOG]:
            name, token = decode_key(record.key)
            if record.value is not None and (name not in best or token >= best[name][0]):
                best[name] = token, record.value
        return {name: _form_and_readings(name, load_state(value)) for name, (_, value) in best.items()}

    def all_hold(self, readings: int, form: int) -> bool:
        return self.kept() == dict.fromkeys(PATIENTS, (form, readings))

    def standing(self, patient: str) -> list[StandingEpisode]:
        signals: dict[int, AlertSignal] = {}
        for record in self.records[topics.ALERTS]:
            signal = decode_signal(record.value)
            if signal.patient == patient:
                assert signals.setdefault(signal.n, signal) == signal
        assert sorted(signals) == list(range(1, len(signals) + 1))
        standing: dict[str, StandingEpisode] = {}
        for n in sorted(signals):
            fold(standing, signals[n])
        return sorted(standing.values(), key=lambda episode: episode.alert)


def expected(patient: str, readings: int) -> list[StandingEpisode]:
    state = ENGINE.new_state(patient)
    ENGINE.apply(
        state,
        [from_wire(weight(patient, seq)) for seq in range(readings)],
        [msgspec.json.decode(plan(patient), type=CarePlan)],
    )
    return sorted(ENGINE.standing(state), key=lambda episode: episode.alert)


def worker(deployment: Deployment, name: str, **more: str) -> Running:
    return deployment._start(name, [sys.executable, "-m", "scad", "worker", "--without-writer"], more)


def earlier(deployment: Deployment, name: str) -> Running:
    return deployment._start(name, [sys.executable, str(EARLIER)], {})


@pytest.mark.slow
def test_workers_of_two_state_formats_share_the_patients_while_one_release_replaces_the_other(
    deployment: Deployment,
) -> None:
    async def main() -> None:
        settings, former = deployment.settings, {"SCAD_STATE_FORMAT": "1"}
        await publish(settings, [*plans(), *weights(0, 1, 2)])
        async with Told(settings, topics.ALERTS, topics.QUARANTINE, kafka.PATIENTS_CHANGELOG) as told:
            first, second = earlier(deployment, "w1"), earlier(deployment, "w2")
            await told.until(lambda: told.all_hold(3, 1), "two of the earlier release")

            assert first.stop() == 0, first.tail()
            first = worker(deployment, "w1", **former)
            await publish(settings, weights(3, 4, 5))
            await told.until(lambda: told.all_hold(6, 1), "one of each")

            first.kill()  # the earlier one takes over what the new one has written
            await publish(settings, weights(6, 8))
            await told.until(lambda: told.all_hold(8, 1), "the earlier one alone")

            first = worker(deployment, "w1", **former)
            assert second.stop() == 0, second.tail()
            second = worker(deployment, "w2", **former)
            await publish(settings, weights(7, 9, 10))
            await told.until(lambda: told.all_hold(11, 1), "two of the new release, in the former format")

            assert first.stop() == 0, first.tail()
            first = worker(deployment, "w1")
            assert second.stop() == 0, second.tail()
            second = worker(deployment, "w2")
            await publish(settings, weights(11, 12, 13))
            await told.until(lambda: told.all_hold(14, FORMAT), "the format of the new release")

            assert second.stop() == 0, second.tail()
            second = earlier(deployment, "w2")  # whoever puts the earlier release back loses no state
            readings = 14
            while second.running:  # until it has a partition, and meets what it cannot read
                await publish(settings, weights(readings))
                readings += 1
                assert readings < READINGS_MAX, second.tail()
                with suppress(TimeoutExpired):
                    await asyncio.to_thread(second.wait, 3.0)
            assert second.wait() == 1
            assert "a later release wrote it" in second.tail()
            worker(deployment, "w2")
            await told.until(lambda: told.all_hold(readings, FORMAT), "the end")
            await told.quiet()
            assert not told.records[topics.QUARANTINE]
            for patient in PATIENTS:
                assert told.standing(patient) == expected(patient, readings)
                assert told.standing(patient)

    run(main())
