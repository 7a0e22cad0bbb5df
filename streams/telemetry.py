"""The intake in the worker: a batch of what devices sent becomes readings, quarantine and receipts.

Everything is waited for before the caller may commit. What is repeated after a crash repeats the same
readings (one identity, one content), the same quarantine entries (one id) and the same numbers in the
ledger. A receipt goes out for every device of a batch, new or repeated: a device that sends again is
waiting for one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from devices.readings import Reading, Refusal, to_wire
from devices.times import parse_instant
from scad.clock import Clock
from scad.log import follow
from streams import metrics, topics
from streams.intake import (
    Intake,
    Interval,
    encode_quarantine,
    may_be_bluetooth,
    patient_at,
    process,
    time_zone_of,
    unattributed,
    zone,
)
from streams.kafka import Record, header, produce
from streams.plans import CarePlan
from streams.poison import poison
from streams.receipts import (
    Ledger,
    Rejected,
    Seen,
    dump_ledger,
    encode_record,
    load_ledger,
    new_ledger,
    note,
    receipt,
)
from streams.tables import TokenTable
from streams.transport import Grant
from streams.views import CompactedView

log = structlog.get_logger()

DECODED_AT_ONCE = 200  # messages decoded before the loop may do something else; some milliseconds


@dataclass(slots=True)
class DeviceNews:
    """What a batch brought of one epoch of one device."""

    seqs: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    oldest: int | None = None


class Telemetry:
    """Works on records of `scad.telemetry` and `scad.backlog`."""

    def __init__(
        self,
        table: TokenTable,
        producer: AIOKafkaProducer,
        assignments: CompactedView[tuple[Interval, ...]],
        plans: CompactedView[CarePlan],
        clock: Clock,
    ) -> None:
        self._table = table
        self._producer = producer
        self._assignments = assignments
        self._plans = plans
        self._clock = clock
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def handle(self, records: Sequence[ConsumerRecord], grant: Grant) -> None:
        """Make everything that follows from the records durable. Raises FencedError.

        Both ways that a device's messages take come here: one at a time in a partition changes ledgers, and sends
        its receipts before the other, so that the last receipt is the one that says most.
        """
        taken, refused = await self._take(records)
        async with self._locks[grant.partition]:
            await self._settle(taken, refused, grant)
        self._count(taken, refused)
        follow("intake.accepted", taken)
        follow("intake.refused", refused)

    async def _settle(self, taken: Sequence[Reading], refused: Sequence[Refusal], grant: Grant) -> None:
        records = [Record(topics.READINGS, reading.patient.encode(), to_wire(reading)) for reading in taken]
        records += [
            Record(topics.QUARANTINE, refusal.device.encode(), encode_quarantine(refusal))
            for refusal in refused
        ]
        ledgers: dict[str, Ledger] = {}
        answers: list[tuple[str, int, Seen | None, list[Rejected]]] = []
        for (device, epoch), news in self._news(taken, refused).items():
            ledger = ledgers.get(device) or ledgers.setdefault(device, self._ledger(device))
            answers.append((device, epoch, note(ledger, epoch, news.seqs, news.oldest), news.rejected))
        written = {device: dump_ledger(ledger) for device, ledger in ledgers.items()}
        await asyncio.gather(produce(self._producer, records), self._table.write(grant, written))
        receipts = [
            Record(topics.RECEIPTS, device.encode(), encode_record(device, receipt(epoch, seen, rejected)))
            for device, epoch, seen, rejected in answers
        ]
        await produce(self._producer, receipts)

    async def _take(self, records: Sequence[ConsumerRecord]) -> tuple[list[Reading], list[Refusal]]:
        """Decode and attribute; who is not known is looked up again when the assignments are up to date."""
        intakes = []
        for number, record in enumerate(records, 1):
            if number % DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            intakes.append(self._process(record))
        if any(unattributed(intake) for intake in intakes):
            await self._assignments.catch_up_now()
            intakes = [
                self._process(record) if unattributed(intake) else intake
                for record, intake in zip(records, intakes, strict=True)
            ]
        taken = [reading for intake in intakes for reading in intake.readings]
        return taken, [refusal for intake in intakes for refusal in intake.refusals]

    def _process(self, record: ConsumerRecord) -> Intake:
        try:
            device = (record.key or b"").decode()
            text = header(record.headers, topics.HEADER_RECEIVED_AT)
            received_at_ms = record.timestamp if text is None else parse_instant(text)[0]
            payload = record.value or b""
            local = self._zone(device, received_at_ms) if may_be_bluetooth(payload) else UTC
            return process(payload, device, received_at_ms, self._assignments.get, local)
        except Exception as error:  # nothing that a device can send comes here, but the stream goes on
            metrics.POISON.labels(record.topic).inc()
            log.error("intake.poison_record", partition=record.partition, offset=record.offset)
            return Intake([], [poison(record, error).refusal(self._clock.now_ms())])

    def _zone(self, device: str, at_ms: int) -> tzinfo:
        """The zone of the care plan of whoever has the device."""
        patient = patient_at(self._assignments.get(device) or (), at_ms)
        plan = self._plans.get(patient) if patient is not None else None
        return UTC if plan is None else zone(time_zone_of(plan, at_ms))

    def _ledger(self, device: str) -> Ledger:
        value = self._table.get_value(device)
        if value is None:
            return new_ledger()
        try:
            return load_ledger(value)
        except msgspec.DecodeError as error:  # receipts begin anew; the device sends again what they lack
            log.error("intake.poison_ledger", device=device, error=type(error).__name__)
            return new_ledger()

    @staticmethod
    def _news(taken: Sequence[Reading], refused: Sequence[Refusal]) -> dict[tuple[str, int], DeviceNews]:
        news: dict[tuple[str, int], DeviceNews] = defaultdict(DeviceNews)
        for reading in taken:
            of = news[reading.device, reading.epoch]
            of.seqs.append(reading.seq)
            if reading.oldest is not None:
                of.oldest = reading.oldest if of.oldest is None else max(of.oldest, reading.oldest)
        for refusal in refused:
            if not refusal.device:
                continue
            of = news[refusal.device, refusal.epoch]
            of.rejected.append(Rejected(refusal.seq, refusal.reason))
            if refusal.seq is not None:
                of.seqs.append(refusal.seq)
        return news

    @staticmethod
    def _count(taken: Sequence[Reading], refused: Sequence[Refusal]) -> None:
        for reading in taken:
            metrics.READINGS.labels("artefact" if reading.artefact else "accepted").inc()
            metrics.LATENESS.observe(max(0, reading.received_late_ms) / 1000)
        for refusal in refused:
            metrics.READINGS.labels("refused").inc()
            metrics.REFUSALS.labels(refusal.reason).inc()
