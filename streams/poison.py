"""A record of our own topics that could not be worked on: its place, its bytes, the error's name. Pure."""

from __future__ import annotations

from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from devices.readings import Reading, Refusal

REASON = "not-evaluated"
"""The reason in quarantine: the record was well when it was taken in, and a later step failed on it."""
ERROR_CHARS = 200  # an error's text may quote a whole record
FAULTS_CHARS = 4_000  # a list of what is wrong with a protocol: some 40 faults, in words of our own


class Poison(NamedTuple):
    """Where the record stands, what it holds and which error it caused."""

    record: ConsumerRecord
    error: str
    reading: Reading | None = None

    def refusal(self, now_ms: int) -> Refusal:
        record, reading = self.record, self.reading
        return Refusal(
            device=reading.device if reading is not None else "",
            epoch=reading.epoch if reading is not None else 0,
            seq=reading.seq if reading is not None else None,
            reason=REASON,
            detail=f"{record.topic}[{record.partition}]@{record.offset}: {self.error}",
            raw=record.value or b"",
            received_at_ms=reading.received_at_ms if reading is not None else now_ms,
        )


def poison(
    record: ConsumerRecord, error: Exception, reading: Reading | None = None, chars: int = ERROR_CHARS
) -> Poison:
    return Poison(record, f"{type(error).__name__}: {error}"[:chars], reading)
