"""*No reading*: episodes of silence from the instants of readings, the schedule, and the clock.

A pure function of the set of instants at which readings were measured, the care plan's versions and the
instant `until`: an episode starts when the first of a protocol's expected kinds is overdue, is graver from
the schedule's grave instant on, and ends with the reading after which none is overdue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in which one kind is expected: [from, to), overdue and grave after so long."""

    from_ms: int
    to_ms: int | None
    overdue_ms: int
    grave_ms: int


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


def overdue_stretches(
    kind: str, times_ms: Sequence[int], spans: Sequence[Span], until_ms: int
) -> list[Overdue]:
    """Stretches of one kind, from its sorted instants of measurement and its spans.

    Silence is counted from the last reading or from the start of a span that follows no other (the kind was
    not expected before). Within one silence a later span's hours count from its own start on.
    """
    found: list[Overdue] = []
    for span, anchor_ms in _anchored(spans):
        if span.from_ms > until_ms:
            continue
        stop_ms = until_ms + 1 if span.to_ms is None else min(span.to_ms, until_ms + 1)
        edges = [t for t in times_ms if t < stop_ms]
        since = anchor_ms
        for at in [*edges, None]:
            if at is None or at >= span.from_ms:
                start = max(since + span.overdue_ms, span.from_ms)
                end = stop_ms if at is None else at
                if start < end:
                    open_end = at is None and stop_ms == until_ms + 1
                    grave = max(since + span.grave_ms, span.from_ms)
                    found.append(
                        Overdue(kind, start, grave, None if open_end else end, since, span.overdue_ms)
                    )
            if at is not None:
                since = max(since, at)
    return found


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
        for instant in (since + span.overdue_ms, since + span.grave_ms, span.from_ms):
            within = span.from_ms <= instant and (span.to_ms is None or instant < span.to_ms)
            if within and instant > clock_ms:
                changes.append(instant)
        if span.to_ms is not None and span.to_ms > clock_ms:
            changes.append(span.to_ms)
    return min(changes) if changes else None
