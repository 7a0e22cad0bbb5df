"""Tables and a plot of what the benchmarks kept.

python -m bench.report            # writes docs/benchmarks.svg and prints the tables for docs/benchmarks.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import msgspec

RESULTS = Path(__file__).parent / "results"
PLOT = Path(__file__).parents[1] / "docs" / "benchmarks.svg"
WIDTH, LEFT, ROW, BAR, TOP = 760, 230, 34, 18, 46
OURS, OTHERS = "#1b6ca8", "#9aa5b1"


def where(figures: dict[str, Any]) -> str:
    """Machine, date and load in one line."""
    machine, before, after = (
        figures[name] for name in ("machine", "load_average_before", "load_average_after")
    )
    return (
        f"{figures['date'][:10]}, {machine['cores']} cores of {machine['cpu']}, Python {machine['python']}; "
        f"load average {before[0]} before and {after[0]} after"
    )


def peers_table(figures: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| | readings/s | CPU s per million | peak memory, MiB | what is durable |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name, of in figures["contenders"].items():
        shown = f"**{name}**" if name == "scad worker" else name
        rate, cpu = of["readings_per_second"], of["cpu_seconds_per_million"]
        lines.append(f"| {shown} | {rate:,} | {cpu:,.1f} | {of['memory_mib']:,} | {of['keeps']} |")
    return "\n".join(lines)


def peers_plot(figures: dict[str, Any]) -> str:
    """Bars of readings a second, an SVG."""
    contenders = figures["contenders"]
    most = max(of["readings_per_second"] for of in contenders.values())
    height = TOP + ROW * len(contenders) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13" role="img" aria-label="Readings a second of the worker and its peers">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="24" font-size="15" font-weight="bold" fill="#1f2933">'
        "Readings a second, three rules, two cores</text>",
    ]
    for index, (name, of) in enumerate(contenders.items()):
        y, rate = TOP + index * ROW, of["readings_per_second"]
        length = max(1.0, (WIDTH - LEFT - 90) * rate / most)
        colour = OURS if name == "scad worker" else OTHERS
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end" fill="#1f2933">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<text x="{LEFT + length + 8:.1f}" y="{y + 14}" fill="#1f2933">{rate:,}</text>',
        ]
    parts.append(
        f'<text x="12" y="{height - 10}" font-size="11" fill="#52606d">{escape(where(figures))}</text></svg>'
    )
    return "\n".join(parts) + "\n"


def kept(name: str) -> dict[str, Any] | None:
    """A result, None when it has not been measured."""
    path = RESULTS / f"{name}.json"
    return msgspec.json.decode(path.read_bytes()) if path.is_file() else None


def main() -> int:
    figures = kept("peers")
    if figures is None:
        print("nothing is measured yet: python -m bench.peers", file=sys.stderr)
        return 1
    PLOT.write_text(peers_plot(figures), encoding="utf-8")
    print(peers_table(figures), where(figures), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
