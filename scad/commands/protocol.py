"""`scad protocol`: check a protocol file, publish it as a version that holds from an instant on, list what holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scad.settings import Settings
    from streams.published import PlansView

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="A protocol as TOML.")]


def register(app: typer.Typer) -> None:
    protocol = typer.Typer(no_args_is_help=True, help="Protocols: check, publish, list.")
    app.add_typer(protocol, name="protocol")
    protocol.command()(check)
    protocol.command()(publish)
    protocol.command()(withdraw)
    protocol.command("list")(list_)


def check(files: Files) -> None:
    """Check protocol files; every fault is named with file, rule and field.

    Exit status: 0 when all can be used, 1 when not, 2 for wrong usage.
    """
    from streams.protocols import ProtocolError, load_file

    refused = False
    for path in files:
        try:
            found = load_file(path)
        except (ProtocolError, OSError) as error:
            print(_told(error, path), file=sys.stderr)
            refused = True
            continue
        print(f"{path}: {found.name} {found.version}, {len(found.rules)} rules, no fault found")
    if refused:
        raise typer.Exit(1)


def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A protocol as TOML.")],
    begins: Annotated[
        str,
        typer.Option("--from", help="The instant, RFC 3339; it holds for readings measured from then on."),
    ],
    author: Annotated[str, typer.Option(help="Who is responsible for it.")] = "",
) -> None:
    """Publish a version of a protocol to every worker, through scad.care-plans. No restart is needed.

    A version is never changed: one that is published already with other content is refused.
    Exit status: 0 when it is published or was, 1 when it was refused, 2 for wrong usage.
    """
    import asyncio

    from devices.times import BadTimeError, parse_instant
    from scad.process import settings_or_exit
    from streams.plans import ProtocolVersion
    from streams.protocols import ProtocolError, load_file

    try:
        found = load_file(file)
        text = file.read_text(encoding="utf-8")
    except (ProtocolError, OSError) as error:
        print(_told(error, file), file=sys.stderr)
        raise typer.Exit(1) from None
    try:
        parse_instant(begins)
    except BadTimeError as error:
        print(f"--from: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    version = ProtocolVersion(
        protocol=found.name, version=found.version, from_=begins, document=text, author=author
    )
    settings = settings_or_exit("protocol")

    async def send(view: PlansView) -> str:
        import msgspec

        value = msgspec.json.encode(version)
        known = view.documents().get(version.key)
        if known == value:
            return f"{version.key} is published already, from {begins}"
        if known is not None:
            was = msgspec.json.decode(known, type=ProtocolVersion)
            print(
                f"{file}: version: {version.version} is published from {was.from_} and is never changed; "
                "give the file another `version`",
                file=sys.stderr,
            )
            raise typer.Exit(1)
        await _produce(settings, version.key, value)
        return f"{version.key} is published, from {begins}"

    print(asyncio.run(_with_view(settings, send)))


def withdraw(
    name: Annotated[str, typer.Argument(help="The protocol.")],
    version: Annotated[str, typer.Argument(help="Its published version.")],
) -> None:
    """Withdraw a published version, as if it had never been: what it raised is cleared, what held before holds.

    Exit status: 0 when it is withdrawn, 1 when it is not published.
    """
    import asyncio

    from scad.process import settings_or_exit
    from streams.plans import PROTOCOL_KEY

    key = f"{PROTOCOL_KEY}{name}:{version}"
    settings = settings_or_exit("protocol")

    async def send(view: PlansView) -> str:
        if key not in view.documents():
            known = ", ".join(sorted(view.documents())) or "none"
            print(f"{key} is not published; published are: {known}", file=sys.stderr)
            raise typer.Exit(1)
        await _produce(settings, key, None)
        return f"{key} is withdrawn"

    print(asyncio.run(_with_view(settings, send)))


def list_() -> None:
    """List the protocols of this release and the versions published since."""
    import asyncio

    import msgspec

    from scad.process import settings_or_exit
    from streams.plans import ProtocolVersion
    from streams.protocols import load_published

    settings = settings_or_exit("protocol")

    async def told(view: PlansView) -> str:
        lines = [f"{p.name}  {p.version}  of this release" for p in load_published().protocols.values()]
        stand: list[ProtocolVersion] = [
            msgspec.json.decode(value, type=ProtocolVersion) for value in view.documents().values()
        ]
        for one in sorted(stand, key=lambda v: (v.protocol, v.from_ms, v.version)):
            author = f"  {one.author}" if one.author else ""
            lines.append(f"{one.protocol}  {one.version}  from {one.from_}{author}")
        return "\n".join(lines)

    print(asyncio.run(_with_view(settings, told)))


def _told(error: Exception, path: Path) -> str:
    return f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)


async def _with_view(settings: Settings, work: Callable[[PlansView], Awaitable[str]]) -> str:
    """Do something with all that stands in scad.care-plans."""
    from streams.kafka import ensure_topics
    from streams.published import PlansView

    await ensure_topics(settings)
    view = PlansView(settings, client_id="scad-protocol")
    try:
        await view.start()
        await view.caught_up()
        return await work(view)
    finally:
        await view.stop()


async def _produce(settings: Settings, key: str, value: bytes | None) -> None:
    from streams import topics
    from streams.kafka import Record, make_producer, produce

    producer = await make_producer(settings, "scad-protocol")
    try:
        await produce(producer, [Record(topics.CARE_PLANS, key.encode(), value)])
    finally:
        await producer.stop()
