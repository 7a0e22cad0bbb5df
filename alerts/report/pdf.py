"""The report as PDF: A4, drawn as vectors, by a library that needs no program beside it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    Flowable,
    KeepTogether,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from alerts.feed.formats import Formats
from alerts.report.collect import AlertLine, Report
from alerts.report.curve import CurvePicture
from alerts.report.head import Head, head_of
from alerts.report.words import (
    delay_text,
    figure_rows,
    followed_rows,
    implant_row,
    state_text,
    step_text,
    summary_lines,
)

MARGIN = 17 * mm
WIDTH = A4[0] - 2 * MARGIN - 12  # the library keeps 6 points free on both sides of a page's frame
INK, GREY, LINE = colors.HexColor("#1a2430"), colors.HexColor("#56636f"), colors.HexColor("#c9d1d8")
HEAD = colors.HexColor("#eef2f5")
SEVERITY = {
    "high": colors.HexColor("#b3141f"),
    "medium": colors.HexColor("#a65a00"),
    "low": colors.HexColor("#31618a"),
}
FONTS = {"Vera": "Vera.ttf", "VeraBd": "VeraBd.ttf", "VeraIt": "VeraIt.ttf"}
"""They come with the library and are embedded, so that the report looks the same everywhere."""
STEPS_MAX = 8  # steps of one alert that are listed; the page has all


def _fonts() -> None:
    known = set(pdfmetrics.getRegisteredFontNames())
    for name, file in FONTS.items():
        if name not in known:
            pdfmetrics.registerFont(TTFont(name, file))


def _style(name: str, size: float, **more: Any) -> ParagraphStyle:
    return ParagraphStyle(
        name, **{"fontName": "Vera", "fontSize": size, "leading": size * 1.35, "textColor": INK, **more}
    )


BODY = _style("body", 8.5)
SMALL = _style("small", 7.5, textColor=GREY)
CELL = _style("cell", 7.5)
RIGHT = _style("right", 7.5, alignment=TA_RIGHT)
TITLE = _style("title", 16, fontName="VeraBd", spaceAfter=2)
NAME = _style("name", 12, fontName="VeraBd")
SECTION = _style("section", 11, fontName="VeraBd", spaceBefore=10, spaceAfter=3)
KIND = _style("kind", 8.5, fontName="VeraBd")


def plain(text: str) -> str:
    """The text with what the font has no sign for put otherwise: narrow spaces, arrows."""
    return text.replace("\u202f", "\u00a0").replace("→", "–").replace("₂", "2")


def paragraph(text: str, style: ParagraphStyle = BODY) -> Paragraph:
    return Paragraph(escape(plain(text)), style)


def make_pdf(report: Report, formats: Formats, versions: str) -> bytes:
    """The report as a PDF file. `versions`: the protocols with their versions, for the note on method."""
    _fonts()
    head = head_of(report, formats)
    story: list[Flowable] = [
        *_title(head),
        *_summary(report, formats),
        *_plan(head, formats),
        *_figures(report, formats),
        *_curves(report, formats),
        *_alerts(report, formats),
        *_implants(report, formats),
        *_kept(report, formats),
        *_advice(report, formats),
        Spacer(0, 8),
        paragraph(formats.texts("report.method", versions=versions), SMALL),
    ]
    out = BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=15 * mm,
        bottomMargin=15 * mm,
        title=plain(formats.texts("report.title")),
        author=plain(report.person.team_name),
        lang=formats.language,
        invariant=1,
    )

    document.build(story, canvasmaker=_numbered(head, formats))
    return out.getvalue()


def _numbered(head: Head, formats: Formats) -> type[Canvas]:
    """A canvas that writes the foot of every page when it knows how many there are."""

    class Numbered(Canvas):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - the library's name
            self._pages.append(dict(self.__dict__))
            self._startPage()  # type: ignore[attr-defined]  # the stubs lack it

        def save(self) -> None:
            for page in self._pages:
                self.__dict__.update(page)
                _foot(self, head, formats, len(self._pages))
                super().showPage()
            super().save()

    return Numbered


def _foot(canvas: Canvas, head: Head, formats: Formats, pages: int) -> None:
    """Whose page this is, which of how many, and that nobody is called by it."""
    canvas.setFont("Vera", 7)
    canvas.setFillColor(GREY)
    canvas.drawString(MARGIN + 6, 10 * mm, plain(f"{head.name} · {head.period}"))
    number = formats.texts("report.page", n=canvas.getPageNumber(), of=pages)
    canvas.drawRightString(A4[0] - MARGIN - 6, 10 * mm, plain(number))
    canvas.setFont("Vera", 6.5)
    canvas.drawString(MARGIN + 6, 7 * mm, plain(formats.texts("report.no_emergency")))


def _title(head: Head) -> list[Flowable]:
    left = [Paragraph(escape(plain(head.name)), NAME), paragraph(head.facts, SMALL)]
    right = [paragraph(head.period, RIGHT), paragraph(head.made, RIGHT), paragraph(head.team, RIGHT)]
    box = Table([[left, right]], colWidths=[WIDTH * 0.55, WIDTH * 0.45])
    box.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BACKGROUND", (0, 0), (-1, -1), HEAD),
                ("LINEBELOW", (0, 0), (-1, -1), 1, INK),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
            ]
        )
    )
    return [Paragraph(escape(plain(head.title)), TITLE), Spacer(0, 6), box]


def _summary(report: Report, formats: Formats) -> list[Flowable]:
    lines = [paragraph(f"• {line}") for line in summary_lines(report, formats)]
    return [paragraph(formats.texts("report.summary"), SECTION), *lines]


def _plan(head: Head, formats: Formats) -> list[Flowable]:
    rows = [[paragraph(what, CELL), paragraph(value, CELL)] for what, value in head.limits]
    parts: list[Flowable] = [paragraph(formats.texts("report.plan"), SECTION), paragraph(head.plan)]
    if rows:
        parts += [Spacer(0, 3), _table(rows, [WIDTH * 0.7, WIDTH * 0.3])]
    return parts


def _figures(report: Report, formats: Formats) -> list[Flowable]:
    texts = formats.texts
    parts: list[Flowable] = [paragraph(texts("report.figures"), SECTION)]
    if not report.figures:
        return [*parts, paragraph(texts("report.figures_none"))]
    parts.append(paragraph(texts("report.figures_hint"), SMALL))
    for one in report.figures:
        note = texts("report.readings", n=one.n)
        if one.set_aside:
            note += ", " + texts("report.aside", n=one.set_aside)
        title = Paragraph(
            f"{escape(plain(texts.term('kind', one.kind)))} <font name='Vera' color='#56636f'>{escape(note)}</font>",
            KIND,
        )
        cells = [
            [paragraph(name, CELL), Paragraph(f"<b>{escape(plain(value))}</b>", _bold())]
            for name, value in figure_rows(one, formats)
        ]
        half = (len(cells) + 1) // 2
        rows = [
            [*left, *(right if right is not None else ["", ""])]
            for left, right in zip(cells[:half], [*cells[half:], None][:half], strict=True)
        ]
        widths = [WIDTH * 0.31, WIDTH * 0.19, WIDTH * 0.31, WIDTH * 0.19]
        parts.append(KeepTogether([Spacer(0, 4), title, Spacer(0, 2), _table(rows, widths)]))
    return parts


def _bold() -> ParagraphStyle:
    return _style("bold", 7.5, fontName="VeraBd", alignment=TA_RIGHT)


def _curves(report: Report, formats: Formats) -> list[Flowable]:
    if not report.curves:
        return []
    texts = formats.texts
    parts: list[Flowable] = [
        CondPageBreak(70 * mm),
        paragraph(texts("report.curves"), SECTION),
        paragraph(texts("report.curves_hint"), SMALL),
    ]
    for curve in report.curves:
        unit = formats.unit(curve.unit)
        name = texts.term("kind", curve.kind) + (f" ({unit})" if unit else "")
        parts.append(
            KeepTogether([Spacer(0, 5), paragraph(name, KIND), CurvePicture(curve, formats, WIDTH, 46 * mm)])
        )
    return parts


def _alerts(report: Report, formats: Formats) -> list[Flowable]:
    texts = formats.texts
    parts: list[Flowable] = [CondPageBreak(45 * mm), paragraph(texts("report.alerts"), SECTION)]
    if not report.alerts:
        return [*parts, paragraph(texts("report.alerts_none"))]
    head = [paragraph(texts(f"report.{name}"), KIND) for name in ("when", "alert", "done", "delay")]
    rows = [head, *(_alert_row(line, report, formats) for line in report.alerts)]
    parts.append(_table(rows, [WIDTH * 0.13, WIDTH * 0.40, WIDTH * 0.36, WIDTH * 0.11], header=True))
    if report.alerts_left_out:
        parts.append(paragraph(texts("report.alerts_more", n=report.alerts_left_out), SMALL))
    return parts


def _alert_row(line: AlertLine, report: Report, formats: Formats) -> list[Any]:
    texts, alert = formats.texts, line.alert
    at_ms = int(alert.opened_at.timestamp() * 1000)
    colour = SEVERITY[alert.severity].hexval().replace("0x", "#")
    severity = texts.term("severity", alert.severity)
    rule = texts.term("rule", alert.rule)
    sentence = getattr(alert.explanation, formats.language)
    what = Paragraph(
        f"<font name='VeraBd' color='{colour}'>{escape(plain(severity))}</font> "
        f"<font name='VeraBd'>{escape(plain(rule))}</font><br/>{escape(plain(sentence))}",
        CELL,
    )
    steps = [paragraph(step_text(step, report, formats), CELL) for step in line.steps[:STEPS_MAX]]
    done = steps or [paragraph(texts("report.nothing_done"), SMALL)]
    return [
        [paragraph(formats.day(at_ms), CELL), paragraph(formats.clock(at_ms), SMALL)],
        what,
        done,
        [paragraph(delay_text(line, formats), CELL), paragraph(state_text(line, formats), SMALL)],
    ]


def _implants(report: Report, formats: Formats) -> list[Flowable]:
    if not report.implants:
        return []
    texts = formats.texts
    rows = [[paragraph(texts(f"report.{name}"), KIND) for name in ("when", "event", "count", "burden")]]
    rows += [[paragraph(cell, CELL) for cell in implant_row(one, formats)] for one in report.implants]
    table = _table(rows, [WIDTH * 0.2, WIDTH * 0.4, WIDTH * 0.15, WIDTH * 0.25], header=True)
    return [CondPageBreak(30 * mm), paragraph(texts("report.implants"), SECTION), table]


def _kept(report: Report, formats: Formats) -> list[Flowable]:
    texts = formats.texts
    parts: list[Flowable] = [CondPageBreak(30 * mm), paragraph(texts("report.kept"), SECTION)]
    if not report.kept:
        return [*parts, paragraph(texts("report.kept_none"))]
    rows = [[paragraph(texts(f"report.{name}"), KIND) for name in ("kind", "kept_of", "share", "kept_days")]]
    for one in report.kept:
        share = "–" if one.share is None else formats.quantity(100 * one.share, "%")
        cells = (
            texts.term("kind", one.kind),
            f"{one.done} / {one.expected}",
            share,
            f"{one.days} / {one.of_days}",
        )
        rows.append([paragraph(cell, CELL) for cell in cells])
    parts += [
        _table(rows, [WIDTH * 0.34, WIDTH * 0.26, WIDTH * 0.16, WIDTH * 0.24], header=True),
        paragraph(texts("report.kept_hint"), SMALL),
    ]
    if report.absences:
        parts.append(paragraph(absences_text(report, formats), BODY))
    return parts


def absences_text(report: Report, formats: Formats) -> str:
    """The absences of the period in a sentence."""
    spans = [
        f"{formats.texts.term('absence', one.kind).lower()} "
        f"{formats.day(int(one.from_at.timestamp() * 1000))} – {formats.day(int(one.to_at.timestamp() * 1000))}"
        for one in report.absences
    ]
    return formats.texts("report.absences", list=", ".join(spans))


def _advice(report: Report, formats: Formats) -> list[Flowable]:
    texts = formats.texts
    if not report.sittings:
        return []
    parts: list[Flowable] = [CondPageBreak(30 * mm), paragraph(texts("report.advice"), SECTION)]
    found = followed_rows(report, formats)
    if not found:
        return [*parts, paragraph(texts("report.advice_none"))]
    rows = [
        [paragraph(texts(f"report.{name}"), KIND) for name in ("advice_text", "shown", "yes", "partly", "no")]
    ]
    rows += [[paragraph(str(cell), CELL) for cell in row] for row in found]
    parts.append(_table(rows, [WIDTH * 0.52, *[WIDTH * 0.12] * 4], header=True))
    return parts


def _table(rows: Sequence[Sequence[Any]], widths: Sequence[float], *, header: bool = False) -> Table:
    table = Table([list(row) for row in rows], colWidths=list(widths), repeatRows=1 if header else 0)
    style: list[Any] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]
    if header:
        style.append(("BACKGROUND", (0, 0), (-1, 0), HEAD))
    table.setStyle(TableStyle(style))
    return table
