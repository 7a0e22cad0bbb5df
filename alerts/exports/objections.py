"""A patient's objection to research, and its withdrawal: what is recorded last holds."""

from __future__ import annotations

from datetime import datetime

from alerts.exports.pseudonyms import ExportError
from alerts.store.connection import Connection


def record_objection(conn: Connection, patient: str, objects: bool, by: str, now: datetime) -> bool:
    """Record it; False when it was so already. Raises ExportError for a patient who is not enrolled."""
    if conn.execute("select from scad.patient where patient = %s for update", (patient,)).fetchone() is None:
        raise ExportError(f"there is no patient {patient!r}")
    if objecting(conn, patient) == objects:
        return False
    conn.execute(
        "insert into scad.research_objection (patient, objects, recorded_at, recorded_by) values (%s, %s, %s, %s)",
        (patient, objects, now, by),
    )
    return True


def objecting(conn: Connection, patient: str) -> bool:
    """Whether the patient objects now."""
    row = conn.execute(
        "select objects from scad.research_objection where patient = %s order by id desc limit 1", (patient,)
    ).fetchone()
    return bool(row is not None and row[0])
