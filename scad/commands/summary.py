"""`scad summary`: statistics of a file of readings, one line for each patient and kind."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("summary")(summary)


def summary(
    readings: Annotated[
        str, typer.Argument(help="File of readings, one JSON object a line; - for standard input.")
    ],
) -> None:
    """Print the statistics of READINGS as JSON lines, one for each patient and kind, sorted.

    Time in range, GMI, CV, LBGI, HBGI, GRI, MAGE and episodes of glucose; home blood pressure and its
    variability; heart rate variability and time in atrial fibrillation; weight gains; time in therapeutic range.
    Exit status: 0 when all lines were read, 1 when some were refused, 2 for wrong usage.
    """
    import sys

    from streams.files import EXIT_USAGE, LineReader
    from streams.summary import Summary

    try:
        lines = LineReader(readings)
    except OSError as error:
        typer.echo(f"scad summary: cannot read {readings!r}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    out = sys.stdout.buffer
    with Summary() as collected:
        with lines:
            for reading in lines:
                collected.add(reading)
        for line in collected.lines():
            out.write(line + b"\n")
    out.flush()
    raise typer.Exit(lines.exit_status)
