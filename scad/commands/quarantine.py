"""`scad quarantine`: what was refused and why, and sending it through again."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Device = Annotated[str | None, typer.Option(help="Only of this device.")]
Reason = Annotated[str | None, typer.Option(help="Only refused for this reason.")]


def register(app: typer.Typer) -> None:
    quarantine = typer.Typer(no_args_is_help=True, help="What was refused.")
    app.add_typer(quarantine, name="quarantine")
    quarantine.command("list")(list_)
    quarantine.command("replay")(replay)


def list_(
    device: Device = None,
    reason: Reason = None,
    since: Annotated[str | None, typer.Option(help="Received at or after this instant, RFC 3339.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also what has passed since.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the bytes.")] = False,
) -> None:
    """List what was refused and why, in order of reception."""
    import msgspec

    from alerts.quarantine import LIST_LIMIT, Selection, list_entries
    from devices.times import BadTimeError, format_instant, parse_instant
    from scad.database import opened_database

    try:
        since_ms = None if since is None else parse_instant(since)[0]
    except BadTimeError as error:
        print(f"--since: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    wanted = Selection(device=device, reason=reason, since_ms=since_ms, unresolved=not resolved)
    with opened_database() as (_, conn):
        entries = list_entries(conn, wanted)
    for entry in entries:
        if as_json:
            print(msgspec.json.encode(entry.shown()).decode())
            continue
        number = "-" if entry.seq is None else str(entry.seq)
        state = "" if entry.state == "open" else f" [{entry.state}]"
        times = "" if entry.times == 1 else f" ({entry.times} times)"
        received = format_instant(entry.received_at_ms)
        print(
            f"{entry.id}  {received}  {entry.device or entry.source_topic}  {number}  {entry.reason}"
            f"{times}{state}  {entry.detail}"
        )
    if len(entries) == LIST_LIMIT:
        last = format_instant(entries[-1].received_at_ms)
        print(f"only the first {LIST_LIMIT}: go on with --since {last}", file=sys.stderr)


def replay(
    ids: Annotated[list[str] | None, typer.Option("--id", help="This entry. Repeatable.")] = None,
    device: Device = None,
    reason: Reason = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is not resolved.")] = False,
) -> None:
    """Send refused bytes through again, with the instant at which they were first received.

    What passes is resolved; what is refused again stays. Exit status: 1 when nothing was found to send.
    """
    import asyncio

    from alerts.quarantine import Selection, replay_entries
    from scad.database import opened_database
    from streams.kafka import ensure_topics, make_producer

    if not (ids or device or reason or everything):
        print("say which: --id, --device, --reason or --all", file=sys.stderr)
        raise typer.Exit(2)
    wanted = Selection(ids=tuple(ids or ()), device=device, reason=reason)
    with opened_database() as (settings, conn):

        async def send() -> int:
            await ensure_topics(settings)
            producer = await make_producer(settings, "scad-quarantine")
            try:
                return await replay_entries(conn, producer, wanted, settings.make_clock().now_ms())
            finally:
                await producer.stop()

        sent = asyncio.run(send())
    print(f"sent through again: {sent}")
    if not sent:
        raise typer.Exit(1)
