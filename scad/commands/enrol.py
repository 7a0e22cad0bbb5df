"""`scad enrol`: patients, their devices and care plans from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("enrol")(enrol)


def enrol(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="JSON, or TOML when its name ends so.")
    ] = None,
    republish: Annotated[
        bool,
        typer.Option(
            "--republish", help="Send every assignment and care plan to Kafka: it is new or restored."
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the files; touch nothing.")] = False,
) -> None:
    """Create patients, assign and release devices, set care plans, record absences.

    The same file twice changes nothing. The database comes first; what Kafka has to learn waits in it until
    it is sent, also from an earlier run that was interrupted.

    Exit status: 0 when all is done, 1 when a file was refused (nothing of it was written), 2 for wrong usage.
    """
    import asyncio

    from alerts.audit import record, shell_user
    from alerts.audit.entry import entry
    from alerts.enrol import announce_everything
    from alerts.enrol import enrol as write
    from alerts.enrolment import EnrolmentError, read_enrolment
    from alerts.identity.keys import KeyFileError
    from alerts.identity.vault import vault_of
    from alerts.outbox import publish_outbox
    from scad.database import opened_database
    from streams.kafka import ensure_topics, make_producer
    from streams.protocols import load_published

    if not files and not republish:
        print("give a FILE to enrol, or --republish", file=sys.stderr)
        raise typer.Exit(2)
    library = load_published()
    try:
        documents = [read_enrolment(path, library) for path in files or ()]
    except EnrolmentError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    if check:
        print(f"{sum(len(document.patients) for document in documents)} patients, no fault found")
        return
    with opened_database(EnrolmentError, KeyFileError) as (settings, conn):
        now_ms = settings.make_clock().now_ms()
        vault = vault_of(settings.identity_keys)
        for document in documents:
            done = write(conn, document, now_ms, vault=vault, by=shell_user())
            changed = {*done.patients, *done.identities, *done.care_plans, *done.absences}
            if changed or done.devices:
                record(conn, entry(now_ms, shell_user(), "enrol", patients=tuple(sorted(changed))))
            print(
                f"{document.source}: {len(document.patients)} patients; new or moved: {len(done.patients)},"
                f" identities: {len(done.identities)}, devices: {len(set(done.devices))},"
                f" care plans: {len(set(done.care_plans))}, absences: {len(done.absences)}"
            )
            for place, patient in done.drawn.items():
                print(f"{document.source}: {place} is {patient}")
        if republish:
            announce_everything(conn, now_ms)

        async def publish() -> int:
            await ensure_topics(settings)
            producer = await make_producer(settings, "scad-enrol")
            try:
                return await publish_outbox(conn, producer)
            finally:
                await producer.stop()

        if conn.execute("select 1 from scad.outbox limit 1").fetchone():
            print(f"sent to Kafka: {asyncio.run(publish())} states of devices and care plans")
