"""`scad kafka`: makes topics and access lists."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    kafka = typer.Typer(no_args_is_help=True, help="The broker's topics and access lists.")
    app.add_typer(kafka, name="kafka")
    kafka.callback()(_group)
    kafka.command("prepare")(prepare)


def _group() -> None:
    """The broker's topics and access lists."""


def prepare() -> None:
    """Make the topics that are missing and put the access lists in force (as a superuser of the broker).

    Again, it changes nothing. Waits for a broker that is away.
    """
    import asyncio

    from aiokafka.errors import KafkaError

    from scad.process import settings_or_exit
    from streams.access import grant
    from streams.kafka import KafkaSetupError, ensure_topics

    settings = settings_or_exit("kafka")

    async def both() -> int:
        await ensure_topics(settings)
        return await grant(settings)

    try:
        lines = asyncio.run(both())
    except (KafkaError, KafkaSetupError) as error:
        typer.echo(
            f"{settings.kafka}: {error}; the account must be a superuser of the broker (SCAD_KAFKA_USER) and "
            "the broker have an authorizer (docs/security.md)",
            err=True,
        )
        raise typer.Exit(1) from None
    print(f"the topics are there, {lines} lines of access lists are in force")
