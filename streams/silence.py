"""*No reading*: episodes of silence from the instants of readings, the schedule, and the clock.

A pure function of the set of instants at which readings were measured, the care plan's versions and the
instant `until`: an episode starts when the first of a protocol's expected kinds is overdue, is graver from
the schedule's grave instant on, and ends with the reading after which none is overdue.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Dated:
    """A silence that began until `after_ms` is overdue from an instant on, whatever the rhythm says."""

    after_ms: int
    overdue_at_ms: int
    grave_at_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in which one kind is expected: [from, to), overdue and grave after so long; or from a date
    on, for the silence that `dated` is about."""

    from_ms: int
    to_ms: int | None
    overdue_ms: int
    grave_ms: int
    dated: Dated | None = None

    def overdue_at(self, since_ms: int) -> int:
        """From when a silence that began at `since_ms` is overdue."""
        if self.dated is not None and since_ms <= self.dated.after_ms:
            return self.dated.overdue_at_ms
        return since_ms + self.overdue_ms

    def grave_at(self, since_ms: int) -> int:
        """From when it is graver."""
        if self.dated is not None and since_ms <= self.dated.after_ms:
            return self.dated.grave_at_ms
        return since_ms + self.grave_ms

    @property
    def shortest_ms(self) -> int:
        """The shortest silence that this span can call overdue."""
        if self.dated is None:
            return self.overdue_ms
        return min(self.overdue_ms, self.dated.overdue_at_ms - self.dated.after_ms)


@dataclass(frozen=True, slots=True)
class Overdue:
    """One kind is overdue from `start_ms` (grave from `grave_ms`) until `end_ms`, or still (None)."""

    kind: str
    start_ms: int
    grave_ms: int
    end_ms: int | None
    silent_since_ms: int
    limit_ms: int


@dataclass(frozen=True, slots=True)
class Silence:
    """One episode of a protocol: overdue stretches of its kinds that touch."""

    start_ms: int
    grave_from_ms: int | None
    end_ms: int | None
    parts: tuple[Overdue, ...]


class Instants:
    """The sorted instants at which one kind was measured, and the gaps between them that are longer than
    `shortest_ms`, the shortest silence that any span of the kind calls overdue.

    Nearly no gap is: looking for silences in a month of continuous glucose then costs the few gaps, not ten
    thousand readings. `add` keeps both up to date by bisection.
    """

    __slots__ = ("dated_ms", "gaps", "shortest_ms", "times")

    def __init__(self, times_ms: Iterable[int], shortest_ms: int, dated_ms: Iterable[int] = ()) -> None:
        self.dated_ms = tuple(sorted(dated_ms))
        """The instants that the spans' dates are about: a later reading ends what the date is for."""
        self.times = array("q", sorted(set(times_ms)))
        self.shortest_ms = shortest_ms
        self.gaps = [(a, b) for a, b in pairwise(self.times) if b - a > shortest_ms]

    def frees(self, at_ms: int) -> bool:
        """Whether a reading at this instant is the first one behind an instant of `dated_ms`: from it on the rhythm
        counts, so that what was no silence may be one, and sooner."""
        if not self.dated_ms:
            return False
        place = bisect_left(self.times, at_ms)
        before = self.times[place - 1] if place else None
        return any(one < at_ms and (before is None or before <= one) for one in self.dated_ms)

    def add(self, at_ms: int) -> bool:
        """Whether the instant is new."""
        times = self.times
        if not times or at_ms > times[-1]:
            if times and at_ms - times[-1] > self.shortest_ms:
                self.gaps.append((times[-1], at_ms))
            times.append(at_ms)
            return True
        place = bisect_left(times, at_ms)
        if times[place] == at_ms:
            return False
        times.insert(place, at_ms)
        after = times[place + 1]
        before = times[place - 1] if place else None
        gaps = self.gaps
        at = bisect_left(gaps, (at_ms,))  # the first gap that begins later; the one before it may be split
        if before is not None and at and gaps[at - 1] == (before, after):
            at -= 1
            del gaps[at]
        parts = [(at_ms, after)] if before is None else [(before, at_ms), (at_ms, after)]
        gaps[at:at] = [(a, b) for a, b in parts if b - a > self.shortest_ms]
        return True

    def forget_before(self, at_ms: int) -> None:
        """Drop the instants before `at_ms`."""
        del self.times[: bisect_left(self.times, at_ms)]
        del self.gaps[: bisect_left(self.gaps, (at_ms,))]


def overdue_stretches(
    kind: str, instants: Instants, spans: Sequence[Span], until_ms: int, after_ms: int | None = None
) -> list[Overdue]:
    """Stretches of one kind, from its instants of measurement and its spans; with `after_ms` only those that
    end later than that.

    Silence is counted from the last reading or from the start of a span that follows no other (the kind was
    not expected before). Within one silence a later span's hours count from its own start on.
    """
    times, gaps = instants.times, instants.gaps
    found: list[Overdue] = []
    for span, anchor_ms in _anchored(spans):
        if span.from_ms > until_ms:
            continue
        stop_ms = until_ms + 1 if span.to_ms is None else min(span.to_ms, until_ms + 1)
        if after_ms is not None and stop_ms <= after_ms:
            continue
        seen = bisect_left(times, stop_ms)
        first = bisect_right(times, anchor_ms)
        silent: list[tuple[int, int | None]] = [(anchor_ms, times[first])] if first < seen else []
        begin = anchor_ms + 1 if after_ms is None else max(anchor_ms + 1, _before(gaps, after_ms))
        silent += gaps[bisect_left(gaps, (begin,)) : bisect_left(gaps, (stop_ms,))]
        silent.append((max(anchor_ms, times[seen - 1]) if seen else anchor_ms, None))
        for since, at in silent:
            if at is not None and (at < span.from_ms or at >= stop_ms):
                continue  # over before the span; or it lasts beyond it: then the last entry says so
            overdue_at = span.overdue_at(since)
            start = max(overdue_at, span.from_ms)
            end = stop_ms if at is None else at
            if start < end and (after_ms is None or end > after_ms):
                open_end = at is None and stop_ms == until_ms + 1
                grave = max(span.grave_at(since), span.from_ms)
                found.append(
                    Overdue(kind, start, grave, None if open_end else end, since, overdue_at - since)
                )
    return found


def _before(gaps: Sequence[tuple[int, int]], after_ms: int) -> int:
    """The beginning of the last gap that begins at or before an instant: earlier ones end by then."""
    place = bisect_right(gaps, (after_ms, after_ms))
    return gaps[place - 1][0] if place else after_ms


def _anchored(spans: Sequence[Span]) -> list[tuple[Span, int]]:
    """Each span with the instant from which silence counts when there is no reading."""
    anchored: list[tuple[Span, int]] = []
    anchor = 0
    before: Span | None = None
    for span in spans:
        if before is None or before.to_ms is None or before.to_ms < span.from_ms:
            anchor = span.from_ms
        anchored.append((span, anchor))
        before = span
    return anchored


def silences(stretches: Sequence[Overdue]) -> list[Silence]:
    """Merge the overdue stretches of a protocol's kinds into episodes: those that overlap or touch."""
    episodes: list[Silence] = []
    group: list[Overdue] = []
    reach: int | None = 0
    for part in sorted(stretches, key=lambda p: (p.start_ms, p.kind)):
        if group and reach is not None and part.start_ms > reach:
            episodes.append(_episode(group))
            group, reach = [], 0
        group.append(part)
        reach = None if reach is None or part.end_ms is None else max(reach, part.end_ms)
    if group:
        episodes.append(_episode(group))
    return episodes


def _episode(parts: list[Overdue]) -> Silence:
    open_end = any(p.end_ms is None for p in parts)
    graves = [p.grave_ms for p in parts if p.end_ms is None or p.grave_ms < p.end_ms]
    return Silence(
        start_ms=parts[0].start_ms,
        grave_from_ms=min(graves) if graves else None,
        end_ms=None if open_end else max(p.end_ms or 0 for p in parts),
        parts=tuple(parts),
    )


def next_change_ms(times_ms: Sequence[int], spans: Sequence[Span], clock_ms: int) -> int | None:
    """The earliest instant after the clock at which the kind becomes overdue or gravely so, or a span starts,
    if nothing arrives meanwhile."""
    last = times_ms[-1] if times_ms else None
    changes = []
    for span, anchor_ms in _anchored(spans):
        since = anchor_ms if last is None else max(anchor_ms, last)
        for instant in (span.overdue_at(since), span.grave_at(since), span.from_ms):
            within = span.from_ms <= instant and (span.to_ms is None or instant < span.to_ms)
            if within and instant > clock_ms:
                changes.append(instant)
        if span.to_ms is not None and span.to_ms > clock_ms:
            changes.append(span.to_ms)
    return min(changes) if changes else None
