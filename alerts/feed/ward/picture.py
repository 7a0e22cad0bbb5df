"""The small picture of a preview: for one rule, when alerts stood with the present limit and would have stood
with the proposed one, as two strips over the same weeks."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from alerts.feed.formats import DAY_MS, Formats
from alerts.feed.ward.preview import Episode, Preview, RuleChange

WIDTH, STRIP, GAP, TEXT = 600, 16, 5, 11
LEFT = 92
LEAST = 5  # units: an alert of an hour is still seen


def draw_change(change: RuleChange, preview: Preview, formats: Formats) -> Markup:
    """Two strips as an SVG image, with a text that says the same."""
    texts = formats.texts
    rows = ((texts("preview.now"), change.before, "was"), (texts("preview.proposed"), change.after, "would"))
    label = texts(
        "preview.picture",
        before=len(change.before),
        after=len(change.after),
        rule=texts.term("rule", change.rule),
    )
    height = 2 * STRIP + GAP + TEXT + 8
    parts = [
        f'<svg class="strips" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">',
        _weeks(preview, 2 * STRIP + GAP),
    ]
    for place, (name, episodes, style) in enumerate(rows):
        top = place * (STRIP + GAP)
        parts.append(
            f'<text x="{LEFT - 8}" y="{top + STRIP - 4}" class="end">{escape(name)}</text>'
            f'<rect class="lane" x="{LEFT}" y="{top}" width="{WIDTH - LEFT}" height="{STRIP}"/>'
        )
        parts.append(_bars(episodes, preview, top, style))
    foot = height - 2
    parts.append(
        f'<text x="{LEFT}" y="{foot}">{escape(formats.day(preview.begin_ms))}</text>'
        f'<text class="end" x="{WIDTH}" y="{foot}">{escape(formats.day(preview.end_ms))}</text></svg>'
    )
    return Markup("".join(parts))  # noqa: S704 - numbers, our own words, and escaped texts


def _x(at_ms: int, preview: Preview) -> int:
    span = max(preview.end_ms - preview.begin_ms, 1)
    part = min(max((at_ms - preview.begin_ms) / span, 0.0), 1.0)
    return round(LEFT + part * (WIDTH - LEFT))


def _bars(episodes: Iterable[Episode], preview: Preview, top: int, style: str) -> str:
    bars = []
    for episode in episodes:
        begin = _x(episode.start_ms, preview)
        end = _x(preview.end_ms if episode.end_ms is None else episode.end_ms, preview)
        begin = min(begin, WIDTH - LEAST)
        bars.append(
            f'<rect class="{style} {episode.severity}" x="{begin}" y="{top + 2}"'
            f' width="{max(end - begin, LEAST)}" height="{STRIP - 4}" rx="2"/>'
        )
    return "".join(bars)


def _weeks(preview: Preview, height: int) -> str:
    weeks = range(preview.end_ms - 7 * DAY_MS, preview.begin_ms, -7 * DAY_MS)
    return f'<path class="grid" d="{"".join(f"M{_x(at, preview)} 0V{height}" for at in weeks)}"/>'
