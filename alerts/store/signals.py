"""Alert signals into `scad.alert_event` and `scad.alert`.

Delivery is at least once and, as a rule, in order of n for each patient. A signal that is known changes
nothing. One that comes after its successors (a producer that retried) is stored, and its patient's alerts are
folded anew from all their signals. A number that is known with other content means that the engine lost its
state: it is never folded and is handed back to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from psycopg.rows import dict_row

from alerts.folding import apply_signal
from alerts.row import AlertRow, Consequence
from alerts.service_times import live_alerts, set_due_times
from alerts.store.connection import Connection
from alerts.store.rows import (
    APPEND,
    LOAD,
    LOCK,
    LOCK_NEW,
    SELECT,
    SURROUNDINGS,
    UPSERT,
    Entry,
    Work,
    append_parameters,
    count_suppressions,
    entry,
    from_record,
    load_parameters,
    surroundings,
    to_records,
)
from devices.times import format_instant, from_datetime, parse_instant, to_datetime
from streams.signal import AlertSignal, StandingEpisode, encode_signal

_MOVE_CURSORS = """
update scad.signal_cursor c set last_n = m.n
  from unnest(%s::text[], %s::bigint[]) as m(patient, n) where c.patient = m.patient"""

_KNOWN = """
select e.patient, e.n, e.body from scad.alert_event e
  join unnest(%s::text[], %s::bigint[]) as asked(patient, n) on (e.patient, e.n) = (asked.patient, asked.n)"""

_HISTORY = """
select body, recorded_at from scad.alert_event where patient = %s and kind = 'signal' order by n"""

_STANDING = (
    f"{SELECT} from scad.alert where reason is null and (%(p)s::text is null or patient = %(p)s)"
    " order by patient, opened_at, protocol, rule, alert"
)


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of a batch of signals.

    `gaps` counts numbers that were skipped over (they may still come); `conflicts` are signals whose number
    was already used with other content: not stored.
    """

    stored: int = 0
    duplicates: int = 0
    gaps: int = 0
    conflicts: tuple[AlertSignal, ...] = ()


@dataclass(slots=True)
class _Sorted:
    """A batch after the comparison with what is stored: in order of patient and n."""

    news: list[AlertSignal] = field(default_factory=list)
    stragglers: list[AlertSignal] = field(default_factory=list)
    duplicates: int = 0
    gaps: int = 0
    conflicts: list[AlertSignal] = field(default_factory=list)


def write_signals(conn: Connection, signals: Sequence[AlertSignal], stored_at_ms: int) -> Folded:
    """Fold a batch; the feed is notified at the commit when anything is new.

    Raises psycopg.DataError for a signal that the database refuses, ValueError for one whose time cannot be
    read (the caller bisects the batch).
    """
    if not signals:
        return Folded()
    with conn.transaction():
        cursors = _lock(conn, sorted({signal.patient for signal in signals}))
        sorted_ = _sort(conn, signals, cursors)
        fresh = sorted_.news + sorted_.stragglers
        if fresh:
            disordered = {signal.patient for signal in sorted_.stragglers}
            work = _load(conn, _named(fresh), sorted({signal.patient for signal in fresh}), stored_at_ms)
            for signal in sorted_.news:
                if signal.patient not in disordered:
                    work.consequences += apply_signal(work.rows, signal, stored_at_ms)
            for patient in sorted(disordered):
                _refold(conn, work, patient, [s for s in fresh if s.patient == patient], stored_at_ms)
            last_of = {signal.alert: signal.n for signal in sorted(fresh, key=lambda signal: signal.n)}
            rows = work.finish(last_of)
            count_suppressions(work.consequences)
            names = {row.alert for row in rows}
            live = live_alerts(conn, names)
            _save(conn, rows)
            set_due_times(conn, names, names - live, stored_at_ms)
            last = {signal.patient: signal.n for signal in sorted_.news}
            conn.execute(_MOVE_CURSORS, (list(last), list(last.values())))
            _append(conn, fresh, work.consequences, stored_at_ms)
    return Folded(len(fresh), sorted_.duplicates, sorted_.gaps, tuple(sorted_.conflicts))


def standing_episodes(conn: Connection, patient: str | None = None) -> list[StandingEpisode]:
    """The episodes that stand, as `streams.signal.fold` would have them; instants in UTC.

    Sorted by patient, start, protocol and rule.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_STANDING, {"p": patient})
        rows = [from_record(record) for record in cursor]
    return [
        StandingEpisode(
            alert=row.alert,
            patient=row.patient,
            protocol=row.protocol,
            rule=row.rule,
            cls=row.cls,
            severity=row.severity,
            start=format_instant(row.opened_at),
            last=format_instant(row.last_at),
            end=None if row.cleared_at is None else format_instant(row.cleared_at),
        )
        for row in rows
    ]


def _lock(conn: Connection, patients: list[str]) -> dict[str, int]:
    """The last folded n of each patient; their rows stay locked to the end of the transaction."""
    conn.execute(LOCK_NEW, (patients,))
    return {str(patient): int(n) for patient, n in conn.execute(LOCK, (patients,)).fetchall()}


def _sort(conn: Connection, signals: Sequence[AlertSignal], cursors: dict[str, int]) -> _Sorted:
    """Compare a batch with what is stored; `cursors` moves on."""
    result = _Sorted()
    by_number: dict[tuple[str, int], AlertSignal] = {}
    for signal in signals:
        first = by_number.setdefault((signal.patient, signal.n), signal)
        if first is signal:
            continue
        if first == signal:
            result.duplicates += 1
        else:
            result.conflicts.append(signal)
    known = _known(conn, [key for key in by_number if key[1] <= cursors[key[0]]])
    for (patient, n), signal in sorted(by_number.items(), key=lambda item: item[0]):
        if n > cursors[patient]:
            result.gaps += n - cursors[patient] - 1
            cursors[patient] = n
            result.news.append(signal)
        elif (patient, n) not in known:
            result.stragglers.append(signal)
        elif known[patient, n] == signal:
            result.duplicates += 1
        else:
            result.conflicts.append(signal)
    return result


def _known(conn: Connection, keys: list[tuple[str, int]]) -> dict[tuple[str, int], AlertSignal]:
    if not keys:
        return {}
    rows = conn.execute(_KNOWN, ([patient for patient, _ in keys], [n for _, n in keys])).fetchall()
    return {(str(patient), int(n)): msgspec.convert(body, AlertSignal) for patient, n, body in rows}


def _named(signals: Iterable[AlertSignal]) -> list[str]:
    """Every alert that the signals are about or replace."""
    names: set[str] = set()
    for signal in signals:
        names.add(signal.alert)
        names.update(() if signal.supersedes is msgspec.UNSET else signal.supersedes)
    return sorted(names)


def _load(conn: Connection, alerts: list[str], patients: list[str], now_ms: int) -> Work:
    with conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(LOAD, load_parameters(alerts, patients, now_ms))
        rows = {row.alert: row for row in map(from_record, cursor)}
        cursor.execute(SURROUNDINGS, {"patients": patients, "now": to_datetime(now_ms)})
        return Work(rows, surroundings(cursor.fetchall()), now_ms)


def _save(conn: Connection, rows: Iterable[AlertRow]) -> None:
    records = list(rows)
    if records:
        conn.execute(UPSERT, (to_records(records),))


def _refold(conn: Connection, work: Work, patient: str, fresh: list[AlertSignal], stored_at_ms: int) -> None:
    """Fold all alerts of a patient anew, because some of the `fresh` signals came after their successors.

    What people did and saw stays. No consequences are reported: those that were stay in the events.
    """
    history = [(signal, stored_at_ms) for signal in fresh]
    for body, recorded_at in conn.execute(_HISTORY, (patient,)).fetchall():
        history.append((msgspec.convert(body, AlertSignal), from_datetime(recorded_at)))
    history.sort(key=lambda entry: entry[0].n)
    named = sorted({signal.alert for signal, _ in history})
    work.add(_load(conn, named, [], stored_at_ms).rows)
    anew: dict[str, AlertRow] = {}
    for signal, known_at_ms in history:
        apply_signal(anew, signal, known_at_ms, work.rows)
    work.rows.update(anew)


def _append(
    conn: Connection, signals: Sequence[AlertSignal], consequences: Sequence[Consequence], stored_at_ms: int
) -> None:
    """Write the events, in one statement, as the transaction's last work (0003_alerts.sql says why)."""
    entries: list[Entry] = [
        (
            to_datetime(parse_instant(signal.at)[0]),
            signal.patient,
            signal.alert,
            "signal",
            signal.n,
            signal.state,
            "engine",
            encode_signal(signal).decode(),
        )
        for signal in signals
    ]
    entries += [entry(consequence, stored_at_ms) for consequence in consequences]
    conn.execute(APPEND, append_parameters(entries, stored_at_ms))
