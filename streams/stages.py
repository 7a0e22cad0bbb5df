"""How old a reading is when a stage has done its part, told by one reading of each batch.

A worker takes thousands of readings a second, so the first record of a batch stands for it: a partition keeps the
order in which records came, so nothing of that batch has waited longer there. A reading that was repeated, or that
comes from the backlog lane, is as old as it is.

| stage | done when |
| --- | --- |
| received | Kafka has acknowledged what the bridge forwarded |
| accepted | the intake's readings, refusals and receipts are in Kafka (live lane) |
| evaluated | the engine's state and signals are in Kafka |
| stored | the database has committed |
"""

from __future__ import annotations

import msgspec
from aiokafka.structs import ConsumerRecord

from devices.times import BadTimeError, parse_instant
from streams import metrics, topics
from streams.kafka import header


class _Received(msgspec.Struct):
    received_at: str = ""


_decode = msgspec.json.Decoder(_Received).decode


def received_ms(record: ConsumerRecord) -> int:
    """When the bridge received what the record is about: a header in `scad.telemetry` and `scad.backlog`, a field of
    the reading behind it. Where there is neither, when the record was written."""
    try:
        text = header(record.headers, topics.HEADER_RECEIVED_AT) or _decode(record.value or b"").received_at
        return parse_instant(text)[0] if text else int(record.timestamp)
    except (BadTimeError, msgspec.DecodeError, UnicodeDecodeError):
        return int(record.timestamp)


def age_s(record: ConsumerRecord, now_ms: int) -> float:
    """Seconds since the bridge received it, by the deployment's clock; never negative."""
    return max(0, now_ms - received_ms(record)) / 1000


def passed(stage: str, first: ConsumerRecord, now_ms: int) -> None:
    """Note that a stage has done a batch whose first record is `first`."""
    metrics.STAGE_SECONDS.labels(stage).observe(age_s(first, now_ms))
