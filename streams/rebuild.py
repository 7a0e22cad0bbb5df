"""A patient's state made anew from what Kafka still holds, after the worker's record of it turned out damaged.

What is lost is what the readings of the last days (READINGS_KEPT_MS) do not tell: older histories. What was told
before is known from `scad.alerts`, so that nothing is told twice and numbers go on. An alert that the new state
does not have is left as it stands: with a shorter history its absence proves nothing, and a person closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import TopicPartition

from devices.readings import Reading, Refusal, from_wire
from scad.settings import Settings
from streams import topics
from streams.kafka import make_consumer, started
from streams.plans import CarePlan
from streams.published import PlansView
from streams.signal import AlertSignal, StandingEpisode, decode_signal, fold

if TYPE_CHECKING:
    from streams.patients import EngineLike

REASON = "damaged-state"
"""The reason in quarantine."""
WITHDRAWN = "late-data"
"""The reason with which an alert gives way to the one that takes its place: its history was read once more."""
APPLIED_AT_ONCE = 500  # readings between two looks at the loop: some 50 ms
POLL_MS = 200
TANSU_QUIET_POLLS = 3  # tansu's ends are too low where a batch held several records (streams/kafka.py)
RAW_BYTES_MAX = 2_500_000
"""Of a damaged record, what goes to quarantine: in base64 still a record of the topic (MAX_RECORD_BYTES). States are
hundreds of kB at most."""
DAMAGED_FEW, DAMAGED_SHARE = 10, 0.01
"""Damaged records of a partition that are mended one by one: so many, or this share of it. Where it is more, it is no
accident of single records but another release's topic or a broken disk: the worker ends and throws nothing away."""


class TooManyDamagedError(RuntimeError):
    """More damage in a partition than accidents explain. The message says what to do; the cause is the first."""

    def __init__(self, records: int, damaged: int) -> None:
        super().__init__(
            f"{damaged} of {records} worker records of one partition cannot be read: if another release wrote them, "
            "run that release; if the topic is damaged, mend it from a replica"
        )


@dataclass(frozen=True)
class Sources:
    """What a patient is made anew from. `now_ms`: the instant up to which time has passed; `failed`: called with an
    error that ends the process."""

    settings: Settings
    plans: PlansView
    now_ms: Callable[[], int]
    failed: Callable[[BaseException], None]


def too_many(damaged: int, records: int) -> bool:
    return damaged > max(DAMAGED_FEW, DAMAGED_SHARE * records)


@dataclass(slots=True)
class Past:
    """What Kafka holds of one patient: readings and signals in their order, and the offset behind the last reading
    of the partition that was looked at."""

    readings: list[Reading] = field(default_factory=list)
    signals: list[AlertSignal] = field(default_factory=list)
    readings_next: int = 0


class PastReader:
    """Reads one patient's records of a partition, again and again as it grows. Use as a context manager."""

    def __init__(self, settings: Settings, partition: int, patient: str) -> None:
        self.past = Past()
        self._settings = settings
        self._patient = patient.encode()
        self._readings = TopicPartition(topics.READINGS, partition)
        self._signals = TopicPartition(topics.ALERTS, partition)

    async def __aenter__(self) -> PastReader:
        self._consumer = make_consumer(self._settings, client_id="scad-rebuild")
        await started(self._consumer, self._settings)
        self._consumer.assign([self._readings, self._signals])
        await self._consumer.seek_to_beginning()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self) -> Past:
        """Everything up to where the topics end now."""
        ends = await self._consumer.end_offsets([self._readings, self._signals])
        quiet, wanted = 0, TANSU_QUIET_POLLS if self._settings.kafka_embedded else 0
        while quiet < wanted or any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            quiet = 0 if fetched else quiet + 1
            for records in fetched.values():
                for record in records:
                    if record.key == self._patient:
                        self._take(record.topic, record.value or b"")
        self.past.readings_next = await self._consumer.position(self._readings)
        return self.past

    def _take(self, topic: str, value: bytes) -> None:
        try:
            if topic == topics.READINGS:
                self.past.readings.append(from_wire(value))
            else:
                self.past.signals.append(decode_signal(value))
        except Exception:  # it was put aside when it came
            return


async def rebuild(
    engine: EngineLike, patient: str, past: Past, plan: CarePlan | None, now_ms: int
) -> tuple[Any, list[AlertSignal]]:
    """The state and the signals that were not told yet, numbered on.

    Where no signal of the patient is left (none for 56 days), nobody here knows the last number: then the minutes
    since 1970 stand for it, which are ahead of any patient's count and rise with time.
    """
    state = engine.new_state(patient)
    made: list[AlertSignal] = []
    if plan is not None:
        state = _applied(engine, patient, state, made, plans=[plan])
    for start in range(0, len(past.readings), APPLIED_AT_ONCE):
        some = past.readings[start : start + APPLIED_AT_ONCE]
        state = _applied(engine, patient, state, made, readings=some)
        await asyncio.sleep(0)
    deadline_ms = engine.next_deadline_ms(state)
    if deadline_ms is not None and deadline_ms <= now_ms:
        made += engine.apply(state, tick_ms=now_ms)
    known = sorted({signal.n: signal for signal in past.signals}.values(), key=lambda signal: signal.n)
    last = known[-1].n if known else now_ms // 60_000
    told = [
        msgspec.structs.replace(signal, n=last + place) for place, signal in enumerate(untold(known, made), 1)
    ]
    state.n = last + len(told)
    return state, told


def _applied(engine: EngineLike, patient: str, state: Any, made: list[AlertSignal], **what: Any) -> Any:
    """The state after plans or readings, without those that the engine cannot work on: they were put aside when
    they came. What it says goes behind `made`."""
    before = engine.dump(state)
    try:
        made += engine.apply(state, **what)
    except Exception:
        state = engine.load(patient, before)
        ((name, items),) = what.items()
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]) if middle else ():
            state = _applied(engine, patient, state, made, **{name: half})
    return state


def untold(known: Sequence[AlertSignal], made: Sequence[AlertSignal]) -> list[AlertSignal]:
    """Of the signals that a new state made, those that lead from the episodes that are known to its own."""
    before: dict[str, StandingEpisode] = {}
    after: dict[str, StandingEpisode] = {}
    last_of = {signal.alert: signal for signal in known}
    steps: dict[str, list[AlertSignal]] = {}
    for signal in known:
        fold(before, signal)
    for signal in made:
        fold(after, signal)
        if signal.state == "raised":
            steps[signal.alert] = []
        steps.setdefault(signal.alert, []).append(signal)
    found = [said[-1] for alert, said in steps.items() if alert in before and alert not in after]
    for alert, now in after.items():
        was = before.get(alert)
        if was == now:
            continue
        if was is None:
            heir_of = [
                one.alert
                for one in before.values()
                if one.end is None
                and one.alert not in after
                and (one.protocol, one.rule) == (now.protocol, now.rule)
            ]
            if (
                now.end is None and heir_of
            ):  # it began before what is left of the history: the same, seen later
                found += [_withdrawn(last_of[old]) for old in heir_of]
                first, *others = steps[alert]
                found += [msgspec.structs.replace(first, supersedes=tuple(heir_of)), *others]
                for old in heir_of:
                    del before[old]
            else:
                found += steps[alert]
        elif was.end is not None and now.end is None:
            found += [_withdrawn(last_of[alert]), *steps[alert]]
        else:
            found += [signal for signal in steps[alert] if signal.state != "raised"]
    return found


def _withdrawn(signal: AlertSignal) -> AlertSignal:
    return msgspec.structs.replace(signal, state="cleared", reason=WITHDRAWN, supersedes=msgspec.UNSET)


def damaged_entry(
    topic: str, partition: int, patient: str, record: bytes, error: Exception, now_ms: int
) -> Refusal:
    """The damaged record as an entry for quarantine."""
    size = (
        f", {len(record)} bytes of which the first {RAW_BYTES_MAX} are here"
        if len(record) > RAW_BYTES_MAX
        else ""
    )
    return Refusal(
        device="",
        seq=None,
        reason=REASON,
        detail=f"{topic}[{partition}] {patient}: {type(error).__name__}: {error}"[:400] + size,
        raw=record[:RAW_BYTES_MAX],
        received_at_ms=now_ms,
    )
