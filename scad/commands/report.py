"""`scad report`: the periodic report of a patient."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    patient: Annotated[str, typer.Argument(help="The patient's pseudonym.")],
    first: Annotated[str, typer.Option("--from", help="First day, as 2026-08-25.")],
    last: Annotated[str, typer.Option("--to", help="Last day; both belong to the period.")],
    pdf: Annotated[Path | None, typer.Option(help="Write a PDF file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML file that needs nothing beside it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    language: Annotated[str, typer.Option(help="fr or en")] = "fr",
) -> None:
    """A patient's report for the doctor in charge: curves, alerts and what was done, adherence, figures.

    The files name the patient: keep them as you keep a medical record.

    Exit status: 0 when all is written, 1 when there is no such patient or period, 2 for wrong usage.
    """
    import asyncio
    from datetime import date

    import psycopg

    from alerts.feed.formats import Formats
    from alerts.feed.texts import LANGUAGES, Texts
    from alerts.report.collect import ReportError
    from alerts.report.document import make_html, versions_of
    from alerts.report.offline import as_json, made_report
    from alerts.report.pdf import make_pdf
    from scad.settings import SettingsError, load_settings

    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError as error:
        _usage(f"--from and --to are days like 2026-08-25: {error}")
    if pdf is None and html is None and not json:
        _usage("say what to make: --pdf FILE, --html FILE or --json")
    if language not in LANGUAGES:
        _usage(f"--language {language!r} is not one of {', '.join(LANGUAGES)}")
    try:
        settings = load_settings()
        found: Any = asyncio.run(made_report(settings, patient, begin, end))
    except (ReportError, SettingsError, psycopg.Error) as error:
        print(str(error).strip(), file=sys.stderr)
        raise typer.Exit(1) from None
    formats = Formats(Texts(language), found.person.time_zone)
    if pdf is not None:
        pdf.write_bytes(make_pdf(found, formats, versions_of(found)))
    if html is not None:
        html.write_text(make_html(found, formats), encoding="utf-8")
    if json:
        print(as_json(found).decode())


def _usage(message: str) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(2)
