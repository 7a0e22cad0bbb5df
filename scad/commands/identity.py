"""`scad identity`: who is who, encrypted; keys, corrections, merges, erasure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alerts.identity.store import Change
    from alerts.identity.vault import Vault
    from scad.settings import Settings

Patient = Annotated[str, typer.Argument(help="Pseudonym.")]
Why = Annotated[str, typer.Option(help="The reason; it is kept, so name nobody in it.")]


def register(app: typer.Typer) -> None:
    identity = typer.Typer(no_args_is_help=True, help="Who is who: keys, corrections, merges, erasure.")
    app.add_typer(identity, name="identity")
    for name, command in (
        ("make-key", make_key), ("encrypt", encrypt), ("rotate", rotate), ("show", show),
        ("correct", correct), ("merge", merge), ("split", split), ("erase", erase),
    ):  # fmt: skip
        identity.command(name)(command)


def _vault(settings: Settings) -> Vault:
    from alerts.identity.store import NO_KEY, IdentityError
    from alerts.identity.vault import vault_of

    vault = vault_of(settings.identity_keys)
    if vault is None:
        raise IdentityError(NO_KEY)
    return vault


def _change(settings: Settings, why: str) -> Change:
    from alerts.audit import shell_user
    from alerts.identity.store import Change

    return Change(shell_user(), settings.make_clock().now_ms(), why)


def make_key(
    file: Annotated[Path, typer.Argument(help="Key file; it must not exist yet, unless --rotate.")],
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Add a key to the file: it wraps what is new.")
    ] = False,
) -> None:
    """Write a key file with a new random key, readable by you alone."""
    import os

    from alerts.identity.keys import KeyFileError, make_master_key, read_master_key

    try:
        number = read_master_key(file).current + 1 if rotate else 1
        flags = os.O_WRONLY | (os.O_APPEND if rotate else os.O_CREAT | os.O_EXCL)
        with open(os.open(file, flags, 0o600), "w") as out:
            out.write(make_master_key(number))
    except FileExistsError:
        print(f"{file} is there already and is never replaced; --rotate adds a key to it", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyFileError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    print(
        f"{file}: key {number}. Keep a copy apart from the database's backups: without it no name can be read."
    )


def encrypt() -> None:
    """Seal identities that are in the database as they are, from before. Again, it does nothing."""
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import store
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database

    with opened_database(store.IdentityError, KeyFileError) as (settings, conn):
        change = _change(settings, "encryption")
        done = store.encrypt(conn, _vault(settings), change)
        if done:
            record(conn, entry(change.at_ms, change.by, "identity-encrypt"))
    print(f"sealed: {done} identities; none is left in the clear")


def rotate() -> None:
    """Wrap every data key by the newest master key, after `make-key --rotate`."""
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import store
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database

    with opened_database(store.IdentityError, KeyFileError) as (settings, conn):
        vault, change = _vault(settings), _change(settings, "rotation")
        changed = store.rotate(conn, vault)
        record(conn, entry(change.at_ms, change.by, "identity-rotate"))
    print(f"wrapped anew: {changed} keys, by key {vault.keys.current}; older keys open nothing here any more")


def show(patient: Patient, why: Why) -> None:
    """Print who a patient is, with the INS. It is on record."""
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import store
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database

    with opened_database(store.IdentityError, KeyFileError) as (settings, conn):
        change = _change(settings, why)
        record(conn, entry(change.at_ms, change.by, "identity-show", patients=(patient,), why=why))
        traits = store.read(conn, _vault(settings), patient)
        if traits is None:
            raise store.IdentityError(f"{patient!r} has no identity here")
    for name in traits.__struct_fields__:
        print(f"{name:<12} {getattr(traits, name) or '-'}")


def correct(
    patient: Patient,
    why: Why,
    family_name: Annotated[str | None, typer.Option()] = None,
    given_names: Annotated[str | None, typer.Option()] = None,
    birth_date: Annotated[str | None, typer.Option(help="YYYY-MM-DD")] = None,
    sex: Annotated[str | None, typer.Option(help="female, male or unknown")] = None,
    birth_place: Annotated[str | None, typer.Option(help="INSEE's code of five characters")] = None,
    phone: Annotated[str | None, typer.Option()] = None,
    ins: Annotated[str | None, typer.Option(help="15 characters; empty takes it away")] = None,
    ins_oid: Annotated[str | None, typer.Option(help="The kind of INS: its OID")] = None,
    reliability: Annotated[str | None, typer.Option(help="PROV, or VALI: validated with its INS")] = None,
) -> None:
    """Correct some of a patient's traits; what they were before is kept, encrypted, with the reason.

    A validated identity (VALI) goes back to provisional when a strict trait changes, unless --reliability says VALI
    again: it has to be checked anew.
    """
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import store
    from alerts.identity.correcting import corrected
    from alerts.identity.keys import KeyFileError
    from scad.database import opened_database

    given = {
        "family_name": family_name, "given_names": given_names, "birth_date": birth_date, "sex": sex,
        "birth_place": birth_place, "phone": phone, "ins": ins, "ins_oid": ins_oid, "reliability": reliability,
    }  # fmt: skip
    with opened_database(store.IdentityError, KeyFileError) as (settings, conn):
        vault, change = _vault(settings), _change(settings, why)
        with conn.transaction():
            before = store.read(conn, vault, patient)
            if before is None:
                raise store.IdentityError(f"{patient!r} has no identity here; `scad enrol` gives one")
            changed = store.write(conn, vault, patient, corrected(before, given), change)
        record(conn, entry(change.at_ms, change.by, "identity-correct", patients=(patient,), why=why))
    print(f"{patient}: corrected" if changed else f"{patient}: nothing differs")


def merge(
    patient: Patient,
    holder: Annotated[str, typer.Argument(help="Pseudonym of the file whose identity is right.")],
    why: Why,
) -> None:
    """Two files are one person: PATIENT is shown as HOLDER's person. Nothing else moves."""
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import files
    from alerts.identity.store import IdentityError
    from scad.database import opened_database

    with opened_database(IdentityError) as (settings, conn):
        change = _change(settings, why)
        files.merge(conn, patient, holder, change)
        record(conn, entry(change.at_ms, change.by, "identity-merge", patients=(patient, holder), why=why))
    print(
        f"{patient} is shown as the person of {holder}; readings, alerts, plans and devices stay where they are"
    )


def split(patient: Patient, why: Why) -> None:
    """End a wrong merge: PATIENT is a person again, as before."""
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import files
    from alerts.identity.store import IdentityError
    from scad.database import opened_database

    with opened_database(IdentityError) as (settings, conn):
        change = _change(settings, why)
        done = files.split(conn, patient, change)
        record(
            conn, entry(change.at_ms, change.by, "identity-split", patients=(patient, done.holder), why=why)
        )
    print(f"{patient} and {done.holder} are two persons again")
    for device, file, since in done.attached:
        print(f"look at {device}: attached to {file} since {since:%Y-%m-%d %H:%M}, while they were one")


def erase(patient: Patient, why: Why) -> None:
    """Destroy the key of a patient's identity, and say what remains and why."""
    from alerts.audit import record
    from alerts.audit.entry import entry
    from alerts.identity import files
    from alerts.identity.store import IdentityError
    from scad.database import opened_database

    with opened_database(IdentityError) as (settings, conn):
        change = _change(settings, why)
        done = files.erase(conn, patient, change)
        record(conn, entry(change.at_ms, change.by, "identity-erase", patients=(patient,), why=why))
    print(
        f"{patient}: the key is destroyed; nobody can read the identity any more, backups of before excepted"
    )
    for table, rows in done.remains.items():
        if rows:
            print(f"remains: {rows} × {files.REMAINS[table]}")
    print("remains: lines of the trail of accesses, by pseudonym (docs/audit.md)")
