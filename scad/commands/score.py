"""`scad score`: each rule against a labelled simulated cohort, beside the published methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from streams.score import Course

PLAIN_WIDTH = 130
"""Columns of the table where no terminal says how wide it is."""


def register(app: typer.Typer) -> None:
    app.command("score")(score)


def score(
    patients: Annotated[int, typer.Option(min=1, help="Simulated patients, of each seed.")],
    days: Annotated[int, typer.Option(min=1, help="Days of each.")],
    seed: Annotated[
        list[int], typer.Option(min=0, help="The same seed gives the same cohort. Repeat it to pool cohorts.")
    ],
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            help="A protocol file that takes the place of the published one, or versions with their `from` (.json). "
            "Repeatable.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Score this protocol and simulate its patients alone. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    html: Annotated[str | None, typer.Option(help="Also write a report with plots to this file.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes to share the work.")] = 2,
) -> None:
    """Simulate a labelled cohort, run the engine over it, and print sensitivity, positive predictive value, lead
    time and false alerts per patient-year of each rule. With --protocol: what would this change have done?"""
    import json
    import sys
    from datetime import UTC, datetime
    from pathlib import Path

    from rich.console import Console
    from rich.progress import Progress

    from streams.protocols import ProtocolError
    from streams.score import courses, load_library, report
    from streams.score_page import render

    chosen, seeds = only or [], list(dict.fromkeys(seed))
    try:
        library = load_library(protocol or ())
    except (ProtocolError, OSError) as error:
        _refuse(str(error))
    for name in chosen:
        if name not in library.protocols:
            _refuse(f"--only {name}: no such protocol; there are {', '.join(sorted(library.protocols))}")
    if html is not None and not Path(html).resolve().parent.is_dir():
        _refuse(f"--html {html}: the folder does not exist; make it or name another")
    found: list[Course] = []
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        bar = progress.add_task("patients", total=patients * len(seeds))
        for one in seeds:
            found += courses(
                patients,
                days,
                one,
                protocol or (),
                processes,
                lambda n: progress.update(bar, advance=n),
                chosen,
            )
    result = report(library, found, patients, days, seeds, chosen)
    if html is not None:
        try:
            Path(html).write_text(render(result, f"{datetime.now(UTC):%Y-%m-%d}"), encoding="utf-8")
        except OSError as error:
            _refuse(f"--html {html}: {error.strerror}; name a file that can be written")
    if as_json:
        print(json.dumps(result))
    else:
        _print_tables(result)


def _refuse(why: str) -> NoReturn:
    typer.echo(f"scad score: {why}", err=True)
    raise typer.Exit(2)


def _print_tables(result: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    for key, title in (
        ("rules", "Rules"),
        ("baselines", "Published methods, in the same run"),
        ("protocols", "All clinical rules of a protocol together"),
    ):
        if result[key]:
            console.print(_table(title, result[key]))


def _table(title: str, rows: dict[str, Any]) -> Table:
    from rich.table import Table

    def text(value: float | None, decimals: int) -> str:
        return "–" if value is None else f"{value:.{decimals}f}"

    table = Table(title=title, title_justify="left", box=None)
    table.add_column("rule", no_wrap=True)
    for column in (
        "patients",
        "events",
        "found",
        "sensitivity (95 %)",
        "alerts",
        "PPV",
        "false/patient-year",
        "lead days",
    ):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        interval = row["sensitivity_interval"]
        between = "" if interval is None else f" ({interval[0]:.2f}–{interval[1]:.2f})"
        table.add_row(
            name,
            str(row["patients"]),
            str(row["episodes"]),
            str(row["found"]),
            text(row["sensitivity"], 2) + between,
            str(row["alerts"]),
            text(row["ppv"], 2),
            text(row["false_per_patient_year"], 2),
            text(row["lead_days_median"], 1),
        )
    return table
