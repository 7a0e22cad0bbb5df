"""What a request has read: every row about a patient that it fetches tells its trail, whatever route it is.

The middleware opens a Seen for a request; rows of the feed's pool pass `watched_rows`, which notes the values of the
column `patient`. A new route is on record without having to think of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncCursor
from psycopg.rows import AsyncRowFactory, RowMaker, dict_row


@dataclass(slots=True)
class Seen:
    """One request: which patients' rows it fetched, and what was said of it while it ran."""

    patients: set[str] = field(default_factory=set)
    by: str = ""
    did: str = ""
    about: str = ""
    why: str = ""


_current: ContextVar[Seen | None] = ContextVar("seen", default=None)


def begin() -> Seen:
    """From here on the task's rows are noted in what this returns."""
    seen = Seen()
    _current.set(seen)
    return seen


def saw(*patients: str) -> None:
    """The request concerns these patients, though it fetched no row that says so."""
    seen = _current.get()
    if seen is not None:
        seen.patients.update(patients)


def says(*, by: str = "", did: str = "", about: str = "", why: str = "") -> None:
    """What the request is, in the trail's words: who (before there is a session), what, about whom, why."""
    seen = _current.get()
    if seen is not None:
        seen.by, seen.did = by or seen.by, did or seen.did
        seen.about, seen.why = about or seen.about, why or seen.why


def watched_rows(cursor: AsyncCursor[Any]) -> RowMaker[dict[str, Any]]:
    """psycopg's dict_row that notes whose rows they are."""
    make = dict_row(cursor)
    seen = _current.get()
    names = [column.name for column in cursor.description or ()] if seen is not None else []
    if seen is None or "patient" not in names:
        return make
    place, patients = names.index("patient"), seen.patients

    def row(values: Sequence[Any]) -> dict[str, Any]:
        if values[place] is not None:
            patients.add(str(values[place]))
        return make(values)

    return row


WATCHED: AsyncRowFactory[dict[str, Any]] = watched_rows
