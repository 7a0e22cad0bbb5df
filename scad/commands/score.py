"""`scad score`: each rule against a labelled simulated cohort, beside the published methods."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command("score")(score)


def score(
    patients: Annotated[int, typer.Option(min=1, help="Simulated patients.")],
    days: Annotated[int, typer.Option(min=1, help="Days of each.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")],
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", help="A protocol file that takes the place of the published one. Repeatable."
        ),
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

    try:
        library = load_library(protocol or ())
    except (ProtocolError, OSError) as error:
        typer.echo(f"scad score: {error}", err=True)
        raise typer.Exit(2) from None
    quiet = not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as progress:
        bar = progress.add_task("patients", total=patients)
        found = list(
            courses(
                patients, days, seed, protocol or (), processes, lambda n: progress.update(bar, advance=n)
            )
        )
    result = report(library, found, patients, days, seed)
    if html is not None:
        Path(html).write_text(render(result, f"{datetime.now(UTC):%Y-%m-%d}"), encoding="utf-8")
    if as_json:
        print(json.dumps(result))
    else:
        _print_table(result)


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    def text(value: float | None, decimals: int) -> str:
        return "–" if value is None else f"{value:.{decimals}f}"

    console = Console(width=None if Console().is_terminal else 120)
    titles = (("rules", "Rules"), ("baselines", "Published methods, in the same run"))
    for key, title in titles:
        table = Table(title=title, title_justify="left", box=None)
        table.add_column("rule")
        for column in (
            "patients",
            "events",
            "found",
            "sensitivity",
            "alerts",
            "PPV",
            "false/patient-year",
            "lead days",
        ):
            table.add_column(column, justify="right")
        for name, row in result[key].items():
            table.add_row(
                name,
                str(row["patients"]),
                str(row["episodes"]),
                str(row["found"]),
                text(row["sensitivity"], 2),
                str(row["alerts"]),
                text(row["ppv"], 2),
                text(row["false_per_patient_year"], 2),
                text(row["lead_days_median"], 1),
            )
        console.print(table)
