"""How many of the scheduled measurements a patient has taken in the last fortnight. Pure.

A day counts at most as many readings as the plan asks for, so that ten on Monday do not hide a silent week. Today
counts only what has been done: the day is not over. So does a day of a planned absence: nobody steps on scales in
hospital. A plan that asks less often than daily counts days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta

from alerts.feed.models import Adherence
from streams.protocols.model import Library

DAYS = 14


def adherence(
    kind: str,
    every_hours: float,
    begin: date,
    today: date,
    taken: Mapping[date, int],
    away: Collection[date] = (),
) -> Adherence:
    """Readings done and expected in the last 14 days, today with them, or since the plan's first day `begin`.

    `taken`: readings fit for use by day; `away`: days of planned absences. Days are those of the daily roll-up.
    """
    first = max(begin, today - timedelta(days=DAYS - 1))
    days = [first + timedelta(days=n) for n in range((today - first).days)]
    asked = [day for day in days if day not in away]
    if every_hours > 24:
        expected = int(len(asked) * 24 // every_hours)
        done = sum(1 for day in [*days, today] if taken.get(day, 0) > 0)
        return Adherence(kind=kind, done=min(done, expected), expected=expected)
    daily = max(round(24 / every_hours), 1)
    done = sum(min(taken.get(day, 0), daily) for day in asked)
    unasked = sum(min(taken.get(day, 0), daily) for day in [*days, today] if day == today or day in away)
    return Adherence(kind=kind, done=done + unasked, expected=daily * len(asked) + unasked)


def rhythms(protocols: Iterable[str], asked: Mapping[str, float], library: Library) -> dict[str, float]:
    """Every how many hours each kind is expected under a plan with these protocols.

    `asked`: the hours that the plan itself says. Where it is silent the protocols' own rhythm holds
    (streams.protocols.model.ExpectedEvery); kinds of no protocol are not expected.
    """
    found: dict[str, float] = {}
    for name in protocols:
        protocol = library.protocols.get(name)
        if protocol is None:
            continue
        alone = not any(kind in asked for kind in protocol.schedule)
        for kind, usual in protocol.schedule.items():
            if kind in asked:
                found[kind] = asked[kind]
            elif usual.expected == "always" or (usual.expected == "alone" and alone):
                found[kind] = usual.every_hours
    return found
