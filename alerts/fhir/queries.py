"""All SQL of the FHIR routes. Row-level security decides what a statement sees (alerts.feed.database)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from alerts.feed.database import Connection
from alerts.feed.models import Alert
from alerts.feed.queries import ALERT_COLUMNS
from alerts.fhir.ids import HASHED, SQL_HASH, ObservationId
from alerts.fhir.issues import Reading, reading_of
from alerts.fhir.observation import STRIP_VALUES
from alerts.fhir.search import Span

Row = dict[str, Any]

# A strip of 30 s at 500 Hz fits; a longer one is read by its id, so that a page stays within 200 times this.
STRIP_CHARS = 65_536
# Devices of one patient in a whole file: years of exchanges.
DEVICES_OF_PATIENT = 200


@dataclass(slots=True)
class Where:
    """Conditions joined by `and`, with their values."""

    conditions: list[str] = field(default_factory=lambda: ["true"])
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: str, **values: Any) -> None:
        self.conditions.append(condition)
        self.values |= values

    def ids(self, column: str, wanted: Sequence[str] | None) -> None:
        """Rows whose name in `column` has one of these logical ids; every row where none is asked for."""
        if wanted is None:
            return
        name = column.replace(".", "_")
        condition = f"{column} = any(%({name})s)"
        if any(id_.startswith(HASHED) for id_ in wanted):  # the hash is computed for every row that is seen
            condition = f"({condition} or {SQL_HASH.format(column=column)} = any(%({name})s))"
        self.add(condition, **{name: list(wanted)})

    def span(self, column: str, span: Span) -> None:
        self.add(f"{column} >= %(begin)s and {column} < %(end)s", begin=span.begin, end=span.end)

    @property
    def sql(self) -> str:
        return " and ".join(self.conditions)


async def _all(conn: Connection, statement: str, values: dict[str, Any]) -> list[Row]:
    result = await conn.execute(statement, values)
    return await result.fetchall()


async def patients(conn: Connection, where: Where, after: str | None, limit: int) -> list[str]:
    """Pseudonyms in their order, after `after`."""
    if after is not None:
        where.add("p.patient > %(after)s", after=after)
    statement = f"""
        select p.patient from scad.patient p where {where.sql}
         order by p.patient limit %(limit)s"""  # noqa: S608
    return [row["patient"] for row in await _all(conn, statement, {**where.values, "limit": limit})]


async def devices(conn: Connection, where: Where, after: str | None, limit: int) -> list[Row]:
    """Devices in the order of their serials: with the patient who has one now, and what it last said."""
    if after is not None:
        where.add("d.device > %(after)s", after=after)
    statement = f"""
        select d.device, d.model, s.patient, t.firmware, t.battery
          from scad.device d left join scad.assignment s on s.device = d.device and s.to_at is null
          left join scad.device_status t on t.device = d.device
         where {where.sql} order by d.device limit %(limit)s"""  # noqa: S608
    return await _all(conn, statement, {**where.values, "limit": limit})


async def devices_of(conn: Connection, patient: str) -> list[Row]:
    """Every device that the patient has or had."""
    where = Where()
    where.add("d.device in (select device from scad.assignment where patient = %(whose)s)", whose=patient)
    return await devices(conn, where, None, DEVICES_OF_PATIENT)


Place = tuple[datetime, str, int, int, bytes]
"""Where a reading stands in the order: instant, device, epoch, seq, digest."""


def place_of(row: Row) -> Place:
    return row["measured_at"], row["device"], row["epoch"], row["seq"], row["digest"]


async def observations(
    conn: Connection,
    where: Where,
    limit: int,
    *,
    after: Place | None = None,
    ascending: bool = False,
    whole: bool = False,
) -> list[Row]:
    """Readings that meet the conditions (on `r`), the latest first or last, after a place in this order.

    A long strip is left out (`cut`) unless `whole`: its values are then only what describes it.
    """
    if after is not None:
        earlier = ">" if ascending else "<"
        names = ("at", "after_device", "after_epoch", "after_seq", "after_digest")
        where.add(
            f"r.measured_at {earlier}= %(at)s and (r.measured_at {earlier} %(at)s or (r.device, r.epoch, r.seq,"
            " r.digest) > (%(after_device)s, %(after_epoch)s, %(after_seq)s, %(after_digest)s))",
            **dict(zip(names, after, strict=True)),
        )
    order = "asc" if ascending else "desc"
    statement = f"""
        select r.patient, r.device, r.epoch, r.seq, r.digest, r.kind, r.measured_at, r.received_at, r.stored_at,
               r.flags, r.context, r.marks, r.offset_min, r.too_late, c.cut,
               case when c.cut then r."values" - %(strip)s::text[] else r."values" end as "values"
          from (select * from scad.my_reading r where {where.sql}
                 order by r.measured_at {order}, r.device, r.epoch, r.seq, r.digest limit %(limit)s) r
         cross join lateral (select not %(whole)s and r.kind in ('ecg', 'rr-intervals')
                                    and length(r."values"::text) > %(chars)s as cut) c
         order by r.measured_at {order}, r.device, r.epoch, r.seq, r.digest"""  # noqa: S608
    more = {"limit": limit, "whole": whole, "chars": STRIP_CHARS, "strip": sorted(STRIP_VALUES)}
    return await _all(conn, statement, {**where.values, **more})


def named(where: Where, ids: Iterable[ObservationId]) -> None:
    """Readings of these instants and contents; the caller compares the ids, which say whose they are too."""
    wanted = list(ids)
    where.add(
        "r.measured_at = any(%(instants)s) and r.digest = any(%(digests)s)",
        instants=[id_.measured_at for id_ in wanted],
        digests=[id_.digest for id_ in wanted],
    )


async def digests_of(conn: Connection, alerts: Iterable[Alert]) -> dict[Reading, list[Row]]:
    """The stored readings that the alerts' evidence names: identity, instant and digest."""
    wanted = {(alert.patient, *reading_of(e)) for alert in alerts for e in alert.evidence}
    if not wanted:
        return {}
    patients_, devices_, epochs, seqs, instants = (list(column) for column in zip(*wanted, strict=True))
    result = await conn.execute(
        """
        select r.device, r.epoch, r.seq, r.measured_at, r.digest
          from scad.my_reading r
         where r.patient = any(%(patients)s) and r.measured_at = any(%(instants)s)
           and (r.patient, r.device, r.epoch, r.seq, r.measured_at) in
               (select * from unnest(%(each)s::text[], %(devices)s::text[], %(epochs)s::bigint[],
                                     %(seqs)s::bigint[], %(at)s::timestamptz[]))""",
        {
            "patients": sorted(set(patients_)),
            "instants": sorted(set(instants)),
            "each": patients_,
            "devices": devices_,
            "epochs": epochs,
            "seqs": seqs,
            "at": instants,
        },
    )
    found: dict[Reading, list[Row]] = defaultdict(list)
    for row in await result.fetchall():
        found[row["device"], row["epoch"], row["seq"], row["measured_at"]].append(row)
    return found


async def alerts(
    conn: Connection, where: Where, after: tuple[datetime, UUID] | None, limit: int
) -> list[tuple[Alert, datetime]]:
    """Alerts that meet the conditions (on `a`), the latest opened first, each with when the platform first knew
    of it."""
    if after is not None:
        where.add("(a.opened_at, a.alert) < (%(at)s, %(after)s)", at=after[0], after=after[1])
    statement = f"""
        select {ALERT_COLUMNS}, a.raised_stored_at from scad.alert a where {where.sql}
         order by a.opened_at desc, a.alert desc limit %(limit)s"""  # noqa: S608
    rows = await _all(conn, statement, {**where.values, "limit": limit})
    return [(Alert.model_validate(row), row["raised_stored_at"]) for row in rows]
