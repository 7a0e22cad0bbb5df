"""The score as a page: a plot of sensitivity against false alerts, and a table for each group."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

WIDTH, HEIGHT, MARGIN, RIGHT = 680, 380, 52, 120
"""Of the plot, in its own units; the right side leaves room for the name of the last point."""
LINE = 15
"""Names closer than this are moved apart."""
PROTOCOL = "heart-failure"
"""The protocol whose rules all look for the same event, so that they can be compared in one plot."""
BEST = f"{PROTOCOL}/composite"


def render(score: dict[str, Any], made_on: str) -> str:
    """The HTML report of what `streams.score.report` gave. One file, no script, light and dark."""
    environment = Environment(
        loader=PackageLoader("streams", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("score.html")
    seeds = score["seed"] if isinstance(score["seed"], list) else [score["seed"]]
    return template.render(
        score=score, seeds=seeds, made_on=made_on, plot=_plot(score), groups=_groups(score),
        width=WIDTH, height=HEIGHT,
    )  # fmt: skip


def _plot(score: dict[str, Any]) -> dict[str, Any] | None:
    """Points of the heart-failure rules: x false alerts per patient-year, y sensitivity with its interval."""
    rows = {
        name: row
        for name, row in score["rules"].items()
        if name.startswith(f"{PROTOCOL}/") and row["sensitivity"] is not None
    }
    if not rows:
        return None
    highest: float = max([1.0, *(row["false_per_patient_year"] for row in rows.values())]) * 1.1

    def x(false: float) -> float:
        return round(MARGIN + (WIDTH - MARGIN - RIGHT) * false / highest, 1)

    def y(share: float) -> float:
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share, 1)

    points = [
        {
            "name": name.split("/")[1],
            "x": x(row["false_per_patient_year"]),
            "y": y(row["sensitivity"]),
            "low": y(row["sensitivity_interval"][0]),
            "high": y(row["sensitivity_interval"][1]),
            "best": name == BEST,
        }
        for name, row in rows.items()
    ]
    _place_names(points)
    step = next(step for step in (0.5, 1.0, 2.0, 5.0, 10.0, 50.0) if highest / step <= 10 or step == 50.0)
    return {
        "points": points,
        "ticks": [{"x": x(i * step), "text": f"{i * step:g}"} for i in range(int(highest / step) + 1)],
        "levels": [{"y": y(share), "text": f"{share:.0%}"} for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "margin": MARGIN,
        "right": WIDTH - RIGHT,
    }


def _place_names(points: list[dict[str, Any]]) -> None:
    """Give each name a height at which it covers no other that stands above or below it."""
    placed: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda p: (p["y"], p["x"])):
        at = point["y"]
        for other in placed:
            if abs(other["x"] - point["x"]) < RIGHT and at < other["name_y"] + LINE:
                at = other["name_y"] + LINE
        point["name_y"] = round(at, 1)
        placed.append(point)


def _groups(score: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By rule, a row for each group: nobody should be watched less well. Rules that had nothing to find in
    any group are left out."""
    by_rule: dict[str, dict[str, Any]] = {}
    for group, rows in score["groups"].items():
        for rule, row in rows.items():
            if row["patients"]:
                by_rule.setdefault(rule, {})[group] = row
    return {rule: rows for rule, rows in by_rule.items() if any(row["episodes"] for row in rows.values())}
