"""One line of the trail, and how a command writes it. (The feed's requests: alerts.audit.middleware.)"""

from __future__ import annotations

import getpass
from collections.abc import Iterable

import msgspec

from alerts.store.connection import Connection
from devices.times import format_instant

# A line that names more patients is several: a page shows some hundreds at most.
PATIENTS_MAX = 500
# Lines in one call: some 50 ms under the chain's lock.
LINES_MAX = 500
WHY_MAX = 500


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened. Patients by pseudonym; nothing here names anybody but the account that did it.

    `at`: RFC 3339 in UTC to the millisecond; `by`: login, or shell:USER for a command; `did`: method and route, or the
    command; `at_from`: address; `status`: of the HTTP answer; `about`: account or thing concerned; `why`: the reason
    that was given, in the person's own words.
    """

    at: str
    by: str
    did: str
    role: str = ""
    patients: tuple[str, ...] = ()
    at_from: str = msgspec.field(default="", name="from")
    session: str = ""
    status: int = 0
    about: str = ""
    why: str = ""


def entry(at_ms: int, by: str, did: str, **more: object) -> Entry:
    """An Entry at an instant in milliseconds."""
    return Entry(at=format_instant(at_ms), by=by, did=did, **more)  # type: ignore[arg-type]


def lines_of(entries: Iterable[Entry]) -> list[str]:
    """The lines as audit.append takes them; an entry about very many patients becomes several."""
    lines = []
    for one in entries:
        for begin in range(0, max(len(one.patients), 1), PATIENTS_MAX):
            part = msgspec.structs.replace(one, patients=one.patients[begin : begin + PATIENTS_MAX])
            lines.append(msgspec.json.encode(part).decode())
    return lines


def record(conn: Connection, *entries: Entry) -> None:
    """Append to the trail in a transaction of its own; `conn` is in autocommit mode or at a transaction's end."""
    lines = lines_of(entries)
    for begin in range(0, len(lines), LINES_MAX):
        with conn.transaction():
            conn.execute("select audit.append(%s)", (lines[begin : begin + LINES_MAX],))


def shell_user() -> str:
    """Who runs a command, as the machine knows the person."""
    try:
        return f"shell:{getpass.getuser()}"
    except (OSError, KeyError):
        return "shell:unknown"
