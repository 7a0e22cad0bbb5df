"""A pseudonymised export for research, as Parquet: what a project is told of patients who do not object.

Nothing comes from the identity schema, and no free text: names, notes, reasons and logins stay. Patients, devices and
alerts have the project's own names; instants are moved by a patient's own number of weeks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from psycopg.types.json import Jsonb

from alerts.exports.pseudonyms import ExportError, Pseudonyms
from alerts.store.connection import Connection

BATCH_ROWS = 20_000
"""Rows of one row group: some 2 MB of readings in memory at a time, however long the export is."""

_WHEN = pa.timestamp("ms", tz="UTC")
PATIENTS = pa.schema([("patient", pa.string()), ("protocols", pa.list_(pa.string())), ("enrolled_at", _WHEN)])
READINGS = pa.schema(
    [
        ("patient", pa.string()),
        ("device", pa.string()),
        ("kind", pa.string()),
        ("measured_at", _WHEN),
        ("received_at", _WHEN),
        ("offset_min", pa.int16()),
        ("value", pa.float64()),
        ("values", pa.string()),  # the whole reading's values as JSON, in canonical units
        ("flags", pa.list_(pa.string())),
        ("marks", pa.list_(pa.string())),
        ("context", pa.string()),
    ]
)
ALERTS = pa.schema(
    [
        ("patient", pa.string()),
        ("alert", pa.string()),
        ("protocol", pa.string()),
        ("protocol_version", pa.string()),
        ("rule", pa.string()),
        ("class", pa.string()),
        ("severity", pa.string()),
        ("peak_severity", pa.string()),
        ("opened_at", _WHEN),
        ("last_at", _WHEN),
        ("cleared_at", _WHEN),
        ("late", pa.bool_()),
        ("value", pa.float64()),
        ("limit", pa.float64()),
        ("unit", pa.string()),
        ("state", pa.string()),
        ("outcome", pa.string()),
        ("false_reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Exported:
    """How much was written, and how many patients object."""

    patients: int
    readings: int
    alerts: int
    objecting: int


def export_research(
    conn: Connection, names: Pseudonyms, folder: Path, begin: datetime, end: datetime, now: datetime
) -> Exported:
    """Write patients.parquet, readings.parquet and alerts.parquet of [begin, end) into a new folder.

    Everything is of one instant. The run is kept in scad.access_event. Raises ExportError, and writes nothing, when
    the folder is there already or the period is none.
    """
    if end <= begin:
        raise ExportError("the period ends before it begins")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ExportError(f"{folder} is there already: an export goes into a new folder") from None
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read")
        patients, objecting = _patients(conn)
        wanted = [patient for patient, *_ in patients]
        shift = {patient: timedelta(milliseconds=names.shift_ms(patient)) for patient in wanted}
        _write(folder / "patients.parquet", PATIENTS, [_patient_rows(patients, names, shift)])
        readings = _write(
            folder / "readings.parquet",
            READINGS,
            (
                [_reading(row, names, shift) for row in rows]
                for rows in _batches(conn, _READINGS, (wanted, begin, end))
            ),
        )
        alerts = _write(
            folder / "alerts.parquet",
            ALERTS,
            (
                [_alert(row, names, shift) for row in rows]
                for rows in _batches(conn, _ALERTS, (wanted, begin, end))
            ),
        )
        done = Exported(len(wanted), readings, alerts, objecting)
        detail = {"patients": done.patients, "readings": readings, "alerts": alerts, "objecting": objecting}
        conn.execute(
            "insert into scad.access_event (at, actor, event, subject, detail)"
            " values (%s, 'scad export', 'research-exported', %s, %s)",
            (now, names.project, Jsonb(detail)),
        )
    return done


_READINGS: LiteralString = """
    select patient, device, kind, measured_at, received_at, offset_min, value, "values", flags, marks, context
      from scad.reading where patient = any(%s) and measured_at >= %s and measured_at < %s
     order by patient, measured_at"""
_ALERTS: LiteralString = """
    select patient, alert, protocol, protocol_version, rule, class, severity, peak_severity, opened_at, last_at,
           cleared_at, late, value, limit_value, unit, state, outcome, false_reason
      from scad.alert where patient = any(%s) and opened_at >= %s and opened_at < %s and state <> 'superseded'
     order by patient, opened_at"""


def _patients(conn: Connection) -> tuple[list[tuple[str, list[str], datetime]], int]:
    """Patients who do not object, with the protocols of their newest plan; and how many object."""
    rows = conn.execute(
        """
        select p.patient,
               coalesce((select array(select jsonb_array_elements_text(c.document -> 'protocols')) from scad.care_plan c
                          where c.patient = p.patient order by c.version desc limit 1), '{}'),
               p.enrolled_at,
               coalesce((select o.objects from scad.research_objection o where o.patient = p.patient
                          order by o.id desc limit 1), false) as objects
          from scad.patient p order by p.patient"""
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows if not row[3]], sum(1 for row in rows if row[3])


def _patient_rows(
    patients: Sequence[tuple[str, list[str], datetime]], names: Pseudonyms, shift: dict[str, timedelta]
) -> list[dict[str, Any]]:
    rows = [
        {
            "patient": names.name("patient", patient),
            "protocols": protocols,
            "enrolled_at": at - shift[patient],
        }
        for patient, protocols, at in patients
    ]
    return sorted(rows, key=lambda row: str(row["patient"]))  # not in the order of the platform's names


def _reading(row: Sequence[Any], names: Pseudonyms, shift: dict[str, timedelta]) -> dict[str, Any]:
    patient, device, kind, measured, received, offset, value, values, flags, marks, context = row
    return {
        "patient": names.name("patient", patient),
        "device": names.name("device", device),
        "kind": kind,
        "measured_at": measured - shift[patient],
        "received_at": received - shift[patient],
        "offset_min": offset,
        "value": value,
        "values": msgspec.json.encode(values).decode(),
        "flags": flags,
        "marks": marks,
        "context": msgspec.json.encode(context).decode(),
    }


def _alert(row: Sequence[Any], names: Pseudonyms, shift: dict[str, timedelta]) -> dict[str, Any]:
    found = dict(zip(ALERTS.names, row, strict=True))
    moved = shift[found["patient"]]
    for name in ("opened_at", "last_at", "cleared_at"):
        found[name] = found[name] - moved if found[name] is not None else None
    return found | {
        "patient": names.name("patient", found["patient"]),
        "alert": names.name("alert", str(found["alert"])),
    }


def _batches(
    conn: Connection, query: LiteralString, parameters: tuple[Any, ...]
) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows of a query, a batch at a time, by a cursor of the database's."""
    with conn.cursor("scad_export") as cursor:
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield rows


def _write(path: Path, schema: pa.Schema, batches: Any) -> int:
    """Write row groups; returns the number of rows."""
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in batches:
            writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))
            written += len(rows)
    return written
