"""The score as a page: a table for each group, and a plot of sensitivity against false alerts."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

WIDTH, HEIGHT, MARGIN = 640, 360, 48


def render(score: dict[str, Any], made_on: str) -> str:
    """The HTML report of what `streams.score.report` gave. One file, no script, light and dark."""
    environment = Environment(
        loader=PackageLoader("streams", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("score.html")
    return template.render(score=score, made_on=made_on, plot=_plot(score), width=WIDTH, height=HEIGHT)


def _plot(score: dict[str, Any]) -> dict[str, Any]:
    """Points of the heart-failure rules: x false alerts per patient-year, y sensitivity."""
    points = []
    rows = {k: v for k, v in score["rules"].items() if k.startswith("heart-failure/")}
    highest = max([1.0, *(v["false_per_patient_year"] or 0.0 for v in rows.values())]) * 1.1
    for name, row in rows.items():
        if row["sensitivity"] is None:
            continue
        points.append(
            {
                "name": name.split("/")[1],
                "x": round(MARGIN + (WIDTH - 2 * MARGIN) * row["false_per_patient_year"] / highest, 1),
                "y": round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * row["sensitivity"], 1),
                "best": name == "heart-failure/composite",
            }
        )
    step = 1.0 if highest <= 8 else 2.0
    ticks = [
        {"x": round(MARGIN + (WIDTH - 2 * MARGIN) * i * step / highest, 1), "text": f"{i * step:g}"}
        for i in range(int(highest / step) + 1)
    ]
    levels = [
        {"y": round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share, 1), "text": f"{share:.0%}"}
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return {"points": points, "ticks": ticks, "levels": levels, "margin": MARGIN}
