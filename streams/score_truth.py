"""What each rule is meant to find in the simulated cohort, and how long after its end an alert is still
about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Event:
    """Something that truly happened.

    `stop_ms`: admission to hospital or, for a decompensation treated at home, the start of the treatment;
    else the end. `size` is the label's own measure: mg/dL of the extreme, factor on INR.
    """

    what: str
    onset_ms: int
    stop_ms: int
    size: float | None = None


@dataclass(frozen=True)
class Target:
    """What a rule is held against.

    `find`: labels of events that it should find. `also`: labels of events that an alert may touch without
    being false, though the rule is not there to find them. Events of less than `least_ms`, or whose size
    is below `least_size`, move from the first to the second. Two events less than `joined_ms` apart are one.
    """

    find: tuple[str, ...]
    also: tuple[str, ...] = ()
    early_ms: int = 0
    """So long before the onset an alert is already about the event: rules that predict, and strips whose
    time is that of their first beat."""
    late_ms: int = 0
    """So long after the stop an alert still finds the event."""
    touch_ms: int = 3 * DAY_MS
    """So long after the stop an alert is not false."""
    least_ms: int = 0
    least_size: float | None = None
    joined_ms: int = 0

    def wanted(self, events: Iterable[Event]) -> list[Event]:
        """The events to find, those that belong together joined, by onset."""
        return [event for event in self._of(events, self.find) if self._large(event)]

    def related(self, events: Iterable[Event]) -> list[Event]:
        """All events that an alert may touch without being false."""
        return self._of(events, self.find + self.also)

    def _of(self, events: Iterable[Event], names: tuple[str, ...]) -> list[Event]:
        joined: list[Event] = []
        last: dict[str, int] = {}
        for event in sorted(events, key=lambda e: (e.onset_ms, e.what)):
            if event.what not in names:
                continue
            at = last.get(event.what)
            if at is not None and event.onset_ms - joined[at].stop_ms < self.joined_ms:
                joined[at] = _joined(joined[at], event)
                continue
            last[event.what] = len(joined)
            joined.append(event)
        return joined

    def _large(self, event: Event) -> bool:
        if event.stop_ms - event.onset_ms < self.least_ms:
            return False
        return self.least_size is None or (event.size is not None and event.size >= self.least_size)


def _joined(one: Event, other: Event) -> Event:
    sizes = [size for size in (one.size, other.size) if size is not None]
    return replace(one, stop_ms=max(one.stop_ms, other.stop_ms), size=max(sizes, default=None))


DECOMPENSATION = Target(("decompensation",))
"""The definition that the published figures of weight rules go by: from onset to admission, and three days
after it an alert is not yet false."""

_GLUCOSE = Target((), late_ms=15 * MINUTE_MS, touch_ms=15 * MINUTE_MS, joined_ms=15 * MINUTE_MS)
"""An event of glucose ends when the value has been back for 15 minutes (consensus of 2017), and what comes
back sooner is the same event."""
_STRIP = Target((), early_ms=5 * MINUTE_MS, late_ms=DAY_MS, touch_ms=DAY_MS)
"""Rhythm is read from strips after the fact; a day later it still tells the cardiologist what it was."""

TARGETS: dict[str, Target] = {
    "heart-failure/weight-gain-1d": DECOMPENSATION,
    "heart-failure/weight-gain-3d": DECOMPENSATION,
    "heart-failure/weight-gain-7d": DECOMPENSATION,
    "heart-failure/dry-weight": DECOMPENSATION,
    "heart-failure/weight-macd": DECOMPENSATION,
    "heart-failure/weight-cusum": DECOMPENSATION,
    "heart-failure/symptoms": DECOMPENSATION,
    "heart-failure/composite": DECOMPENSATION,
    "hypertension/bp-crisis": Target(
        ("hypertensive-crisis",), also=("uncontrolled-hypertension",), touch_ms=DAY_MS
    ),
    "hypertension/bp-high": Target(("hypertensive-crisis", "uncontrolled-hypertension"), touch_ms=DAY_MS),
    "hypertension/bp-low": Target(("hypotension",), touch_ms=DAY_MS),
    "hypertension/bp-weekly-mean": Target(
        ("uncontrolled-hypertension",), also=("hypertensive-crisis",), touch_ms=7 * DAY_MS
    ),  # the mean holds the last seven days
    "hypertension/bp-personal": Target(
        ("hypertensive-crisis", "uncontrolled-hypertension", "hypotension"), also=("decompensation",)
    ),
    "diabetes/glucose-very-low": replace(_GLUCOSE, find=("severe-hypoglycaemia",)),
    "diabetes/glucose-low": replace(_GLUCOSE, find=("hypoglycaemia",)),
    "diabetes/glucose-falling": replace(
        _GLUCOSE, find=("severe-hypoglycaemia",), also=("hypoglycaemia",), early_ms=30 * MINUTE_MS
    ),  # a prediction counts as confirmed when it comes true within half an hour, as on a sensor's label
    "diabetes/glucose-high": replace(_GLUCOSE, find=("severe-hyperglycaemia",), least_ms=2 * HOUR_MS),
    "diabetes/glucose-very-high": replace(
        _GLUCOSE, find=("severe-hyperglycaemia",), least_ms=HOUR_MS, least_size=300.0
    ),
    "arrhythmia/atrial-fibrillation": replace(_STRIP, find=("atrial-fibrillation",)),
    "arrhythmia/pause": replace(_STRIP, find=("pause",)),
    "arrhythmia/tachycardia": replace(
        _STRIP, find=("atrial-fibrillation",), also=("decompensation", "infection")
    ),
    "arrhythmia/heart-rate-personal": Target(
        ("atrial-fibrillation", "decompensation", "infection"), least_ms=DAY_MS
    ),  # two mornings
    "respiratory/spo2-low": Target(("respiratory-exacerbation",)),
    "respiratory/spo2-drop": Target(("respiratory-exacerbation",)),
    "respiratory/news2": Target(("respiratory-exacerbation",), also=("infection",)),
    "respiratory/temperature": Target(("infection",)),
    "anticoagulation/inr-low": Target(("under-anticoagulation",), touch_ms=7 * DAY_MS),
    "anticoagulation/inr-high": Target(("over-anticoagulation",), touch_ms=7 * DAY_MS),
    "anticoagulation/inr-critical": Target(
        ("over-anticoagulation",), touch_ms=7 * DAY_MS, least_size=2.4
    ),  # 2.4 times a target of 2.5 is an INR of 6
}
"""By rule ("protocol/name"). Rules that stand in no line have no event in the simulation (a loss of weight
by too much diuretic, a slow pulse, a poor time in therapeutic range): their alerts are counted, not judged."""

TARGET_LABELS = frozenset(label for target in TARGETS.values() for label in target.find + target.also)
"""What is kept of a cohort's labels."""

BASELINES = {
    "rule-of-thumb-2kg-3d": "heart-failure/weight-gain-3d",
    "rule-of-thumb-1.36kg-1d": "heart-failure/weight-gain-1d",
    "rule-of-thumb-2.27kg-7d": "heart-failure/weight-gain-7d",
    "macd": "heart-failure/weight-macd",
    "cusum": "heart-failure/weight-cusum",
}
"""Published methods, and the rule that is each of them."""
