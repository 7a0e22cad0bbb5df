"""`scad audit`: the trail of accesses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alerts.audit.chain import Report
    from alerts.identity.keys import MasterKeys
    from scad.settings import Settings

Note = Annotated[
    list[str] | None, typer.Option(help="LINE:HASH that was noted elsewhere, such as in the feed's log.")
]


def register(app: typer.Typer) -> None:
    audit = typer.Typer(no_args_is_help=True, help="The trail of accesses: who saw and did what.")
    app.add_typer(audit, name="audit")
    for command in (verify, export, patient, checkpoint, retain):
        audit.command()(command)


def _keys(settings: Settings) -> MasterKeys | None:
    from alerts.identity.vault import vault_of

    vault = vault_of(settings.identity_keys)
    return None if vault is None else vault.keys


def _noted(notes: list[str] | None) -> dict[int, bytes]:
    noted = {}
    for note in notes or ():
        line, _, hash_ = note.partition(":")
        try:
            noted[int(line)] = bytes.fromhex(hash_)
        except ValueError:
            print(f"--noted {note}: not LINE:HASH, such as 1200:9f86d0…", file=sys.stderr)
            raise typer.Exit(2) from None
    return noted


def _print(report: Report) -> None:
    for fault in report.faults:
        print(f"{fault.kind}: {fault.words}")
    if report.more:
        print(f"and {report.more} more")
    if report.unvouched:
        print(
            f"{report.unvouched} of {report.checkpoints} checkpoints cannot be checked: no key here is theirs"
        )
    said = (
        "no fault found" if not report.faults else f"FAULTS: {len(report.faults) + report.more}; keep a copy"
    )
    print(f"{report.lines} lines ({report.first} to {report.last}), {report.checkpoints} checkpoints: {said}")
    print(f"last line:hash {report.last}:{report.head.hex()}")
    if report.faults:
        raise typer.Exit(1)


def verify(
    file: Annotated[Path | None, typer.Argument(help="An export; without it the database's trail.")] = None,
    noted: Note = None,
) -> None:
    """Look for removed, altered, reordered and rewritten lines, and say where they are.

    Exit status: 0 when there is no fault, 1 when there is.
    """
    from alerts.audit import chain, store
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database

    known = _noted(noted)
    if file is not None:
        try:
            with file.open(encoding="utf-8") as lines:
                report = store.verify_export(lines, str(file), known)
        except (OSError, store.TrailError) as error:
            print(error, file=sys.stderr)
            raise typer.Exit(1) from None
        _print(report)
        return
    with opened_database(store.TrailError, KeyFileError) as (settings, conn):
        report = chain.verify(store.rows(conn), store.checkpoints(conn), _keys(settings), known)
    _print(report)


def export(file: Annotated[Path, typer.Argument(help="A new file.")]) -> None:
    """Write the whole trail, one JSON object a line, so that it can be verified anywhere. It is on record."""
    from alerts.audit import record, shell_user, store
    from alerts.audit.entry import entry
    from scad.database import opened_database

    with opened_database(store.TrailError, FileExistsError) as (settings, conn):
        record(conn, entry(settings.make_clock().now_ms(), shell_user(), "audit-export"))
        with file.open("x", encoding="utf-8") as out:
            count = store.export(conn, out)
    print(f"{file}: {count} lines")


def patient(
    patient: Annotated[str, typer.Argument(help="Pseudonym.")],
    why: Annotated[str, typer.Option(help="Who asked for the list.")] = "the patient's own list",
) -> None:
    """Print every access to a patient's data: when, who, in which role, what, why. It is on record."""
    from alerts.audit import record, shell_user, store
    from alerts.audit.entry import entry
    from scad.database import opened_database

    with opened_database(store.TrailError) as (settings, conn):
        now_ms = settings.make_clock().now_ms()
        record(conn, entry(now_ms, shell_user(), "audit-patient", patients=(patient,), why=why))
        found = store.of_patient(conn, patient)
    for line in found:
        words = [line["at"], line["by"], line.get("role", "-"), line["did"]]
        words += [f"({line['status']})"] if line.get("status", 200) >= 400 else []
        words += [f"from {line['from']}"] if line.get("from") else []
        words += [f"because: {line['why']}"] if line.get("why") else []
        print("  ".join(words))


def checkpoint() -> None:
    """Vouch for the chain as it is now, and print LINE:HASH, to be kept where the database's owner cannot write."""
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database
    from scad.housekeeping import vouch

    with opened_database(KeyFileError) as (settings, conn):
        print(vouch(conn, _keys(settings), settings.make_clock().now_ms()))


def retain() -> None:
    """Delete lines older than table audit.retention says (12 months); what is left still verifies."""
    from alerts.audit.store import TrailError
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database
    from scad.housekeeping import retain_trail

    with opened_database(TrailError, KeyFileError) as (settings, conn):
        print(retain_trail(conn, _keys(settings), settings.make_clock().now_ms()))
