"""The transport against real Kafka: faults of Faust that must not come back, and records of past owners."""

from __future__ import annotations

import signal
from base64 import b64decode

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from deployment import PARTITIONS, Deployment, Reader, assignments, load, publish, run
from stand_in import Counted
from test_worker_live import assert_each_once, assert_signals_without_gap, canonical

from streams import kafka, topics
from streams.kafka import Record
from streams.rebuild import DAMAGED_FEW
from streams.record import Head, dump_record, load_head
from streams.tables import Token, decode_key, encode_key


async def committed(deployment: Deployment, topic: str) -> int:
    """The sum of the group's committed offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.settings.kafka, group_id=kafka.WORKER_GROUP)
    await consumer.start()
    try:
        offsets = [await consumer.committed(TopicPartition(topic, number)) for number in range(PARTITIONS)]
    finally:
        await consumer.stop()
    return sum(offset or 0 for offset in offsets)


def test_a_stop_leaves_nothing_uncommitted_and_a_restart_repeats_nothing(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(20, range(30)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG, topics.ALERTS) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 600, "all readings")
            assert worker.stop() == 0, worker.tail()
            assert await committed(deployment, topics.READINGS) == 600
            await reader.quiet()
            before = len(reader.records[kafka.PATIENTS_CHANGELOG])
            worker = deployment.worker().wait_for("worker.started")
            await publish(settings, canonical(1, range(30, 31)))
            await reader.until(lambda: reader.applied() == 601, "one more")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            later = reader.records[kafka.PATIENTS_CHANGELOG][before:]
            assert len([record for record in later if record.value is not None]) == 1

    run(main())


def test_an_error_that_nobody_foresaw_ends_the_process_and_commits_nothing_past_it(
    deployment: Deployment,
) -> None:
    """Here: a whole changelog that another release wrote. Nothing of it is thrown away."""

    async def main() -> None:
        settings = deployment.settings
        records = [
            Record(
                kafka.PATIENTS_CHANGELOG, encode_key(f"p-{name}", Token(0, 0)), b"\x09later", partition=number
            )
            for number in range(PARTITIONS)
            for name in range(DAMAGED_FEW + 1)
        ]
        await publish(settings, [*records, *canonical(1, range(10))])
        worker = deployment.worker()
        assert worker.wait(60) == 1, worker.tail()
        assert "worker record of version 09; this program reads 01" in worker.tail()
        assert "run that release" in worker.tail()
        assert await committed(deployment, topics.READINGS) == 0
        async with Reader(settings, topics.QUARANTINE) as reader:
            await reader.quiet()
            assert not reader.records[topics.QUARANTINE]

    run(main())


def test_damaged_records_are_put_aside_and_their_patients_made_anew_while_the_others_go_on(
    deployment: Deployment,
) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(6, range(25)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG, topics.ALERTS, topics.QUARANTINE) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 150, "the work before the damage")
            # what only a damaged record knows is told by nobody
            await reader.until(lambda: sum(map(len, reader.signals().values())) == 12, "the signals of it")
            worker.kill()
            await reader.quiet()
            last = {decode_key(r.key)[0]: r for r in reader.records[kafka.PATIENTS_CHANGELOG] if r.value}
            head, state = last["p-0"], last["p-1"]
            damage = {
                b"\x01\x00\x00\x00\x05nonsense": head,
                state.value[:-30] + b"\xc1" * 30: state,  # the head is whole
            }
            reader.damaged |= damage.keys()
            await publish(
                settings,
                [Record(r.topic, r.key, value, partition=r.partition) for value, r in damage.items()]
                + canonical(6, range(25, 40)),
            )
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 240, "everything, for everybody")
            await publish(settings, canonical(6, range(40, 50)))
            await reader.until(lambda: reader.applied() == 300, "what came afterwards")
            await reader.until(lambda: len(reader.signals()["p-0"]) >= 5, "the signals of it")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, 6, 50)
            assert_signals_without_gap(reader, 6, 50)
            entries = reader.values(topics.QUARANTINE)
            assert {entry["reason"] for entry in entries} == {"damaged-state"}
            assert {b64decode(entry["raw"]) for entry in entries} == damage.keys()
            assert all("scad-worker-patients-changelog[" in entry["detail"] for entry in entries)

    run(main())


def test_a_changelog_partition_that_became_empty_is_recovered_from(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        loose = kafka.TopicSpec(kafka.PATIENTS_CHANGELOG, {"cleanup.policy": "compact,delete"})
        await kafka.ensure_topics(
            settings, [loose]
        )  # Kafka empties no topic that is compacted only, as ours are
        gone = Record(kafka.PATIENTS_CHANGELOG, encode_key("p-gone", Token(0, 0)), None)
        await publish(settings, [gone._replace(partition=number) for number in range(PARTITIONS)])
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        await admin.start()
        try:
            parts = [TopicPartition(kafka.PATIENTS_CHANGELOG, number) for number in range(PARTITIONS)]
            await admin.delete_records({part: RecordsToDelete(1) for part in parts})
        finally:
            await admin.close()
        await publish(settings, canonical(10, range(5)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 50, "all readings")
            assert worker.stop() == 0, worker.tail()

    run(main())


@pytest.mark.slow
def test_offsets_that_no_record_has_are_passed_over(deployment: Deployment) -> None:
    """Transactions leave control records that a consumer never sees: gaps, as compaction leaves them."""

    async def main() -> None:
        settings = deployment.settings
        await kafka.ensure_topics(settings)
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id="gaps")
        await producer.start()
        for part in range(5):
            async with producer.transaction():
                for record in canonical(10, range(part * 4, part * 4 + 4)):
                    await producer.send(record.topic, record.value, key=record.key)
        await producer.stop()
        async with Reader(settings, kafka.PATIENTS_CHANGELOG, topics.ALERTS) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 200, "all readings")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, 10, 20)
            assert await committed(deployment, topics.READINGS) > 200

    run(main())


def test_a_late_record_of_a_past_owner_does_not_turn_the_state_back(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(1, range(40)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG, topics.ALERTS) as reader:
            deployment.worker()
            await reader.until(lambda: reader.applied() == 40, "the first owner's work")
            deployment.processes[0].kill()
            worker = deployment.worker()
            await publish(settings, canonical(1, range(40, 50)))
            await reader.until(lambda: reader.applied() == 50, "the second owner's work")
            worker.kill()
            first = reader.records[kafka.PATIENTS_CHANGELOG][0]
            stale = dump_record(Head(readings_next=1), msgspec.msgpack.encode(Counted("p-0", {"d-0/0/0": 1})))
            await publish(
                settings, [Record(kafka.PATIENTS_CHANGELOG, first.key, stale, partition=first.partition)]
            )
            worker = deployment.worker()
            await publish(settings, canonical(1, range(50, 60)))
            await reader.until(lambda: reader.applied() == 60, "the third owner's work")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, 1, 60)
            assert_signals_without_gap(reader, 1, 60)

    run(main())


def test_signals_that_a_dead_worker_did_not_send_are_sent_by_the_next(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(1, range(10)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG, topics.ALERTS) as reader:
            worker = deployment.worker()
            await reader.until(
                lambda: reader.applied() == 10 and len(reader.records[topics.ALERTS]) == 1,
                "the state and its signal, which come from two topics",
            )
            worker.kill()
            last = reader.records[kafka.PATIENTS_CHANGELOG][-1]
            assert load_head(last.value).outbox == [reader.records[topics.ALERTS][0].value]
            worker = deployment.worker()  # as if the first had died before it sent
            await reader.until(lambda: len(reader.records[topics.ALERTS]) == 2, "the signal again")
            assert worker.stop() == 0, worker.tail()
            assert len({record.value for record in reader.records[topics.ALERTS]}) == 1

    run(main())


@pytest.mark.slow
def test_old_records_are_deleted_as_others_are_written_and_never_last(deployment: Deployment) -> None:
    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(10, range(4)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG) as reader:
            for owner in range(1, 4):
                worker = deployment.worker()
                await publish(settings, canonical(10, range(owner * 4, owner * 4 + 2)))
                await publish(settings, canonical(10, range(owner * 4 + 2, owner * 4 + 4)))
                await reader.until(lambda o=owner: reader.applied() == 10 * (o * 4 + 4), f"owner {owner}")
                worker.kill()
            await reader.quiet()
            standing: dict[bytes, bool] = {}
            last: dict[int, bool] = {}
            for record in reader.records[kafka.PATIENTS_CHANGELOG]:
                standing[record.key] = record.value is not None
                last[record.partition] = record.value is not None
            assert all(last.values())
            names = [decode_key(key)[0] for key, stands in standing.items() if stands]
            assert len(names) < 30  # one of each owner for each patient, were nothing deleted

    run(main())


@pytest.mark.slow
def test_a_worker_stops_within_seconds_while_kafka_is_away(deploy, start_kafka) -> None:
    broker = start_kafka(1)
    deployment = deploy(kafka=broker.bootstrap)

    async def main() -> None:
        await publish(deployment.settings, assignments(5) + load(5, range(50)))
        async with Reader(deployment.settings, kafka.PATIENTS_CHANGELOG) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() == 250, "all readings")
        broker.kill()
        worker.send(signal.SIGTERM)
        assert worker.wait(30) == 0, worker.tail()

    run(main())


@pytest.mark.slow
def test_the_embedded_broker_with_its_remedies_recovers_whole_tables(deploy, tansu) -> None:
    deployment = deploy(kafka=tansu.bootstrap, kafka_embedded=True)

    async def main() -> None:
        settings = deployment.settings
        await publish(settings, canonical(50, range(20)))
        async with Reader(settings, kafka.PATIENTS_CHANGELOG, topics.ALERTS) as reader:
            worker = deployment.worker()
            await reader.until(lambda: reader.applied() >= 500, "half")
            worker.kill()
            worker = deployment.worker()
            await publish(settings, canonical(50, range(20, 40)))
            await reader.until(lambda: reader.applied() == 2_000, "all readings")
            assert worker.stop() == 0, worker.tail()
            await reader.quiet()
            assert_each_once(reader, 50, 40)
            assert_signals_without_gap(reader, 50, 40)

    run(main())


@pytest.mark.parametrize("name", ["worker", "bridge"])
def test_a_process_that_finds_no_broker_waits_and_still_stops_when_asked(deploy, name: str) -> None:
    deployment = deploy(kafka="127.0.0.1:9", mqtt="127.0.0.1:9")
    process = getattr(deployment, name)().wait_for("kafka.waiting")
    assert process.stop() == 0, process.tail()
