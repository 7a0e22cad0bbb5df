"""Tables and a plot of what the benchmarks kept.

python -m bench.report            # fills the pages, draws docs/images/benchmarks.svg, prints every table
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from bench.tables import MORE

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PLOT = DOCS / "images" / "benchmarks.svg"
README = DOCS.parent / "README.md"
PAGES = (DOCS / "benchmarks.md", DOCS / "scale.md", DOCS / "engine.md", README)
WIDTH, LEFT, ROW, BAR, TOP = 760, 290, 34, 18, 46
HEAD_LINES = 2
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
        "| | readings/s | CPU s per million | peak memory, MiB | alerts (plain rules) | what is durable |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, of in figures["contenders"].items():
        cells = [_shown(name), _rates(of), f"{of['cpu_seconds_per_million']:,.1f}", f"{of['memory_mib']:,}"]
        lines.append(f"| {' | '.join(cells)} | {_alerts(of)} | {of['keeps']} |")
    return "\n".join(lines)


def contenders_table(figures: dict[str, Any]) -> str:
    """Markdown: the same in short."""
    lines = [
        "| | readings/s | CPU s per million | peak memory, MiB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, of in figures["contenders"].items():
        rate, cpu = of["readings_per_second"], of["cpu_seconds_per_million"]
        lines.append(f"| {_shown(name)} | {rate:,} | {cpu:,.1f} | {of['memory_mib']:,} |")
    return "\n".join(lines)


def _shown(name: str) -> str:
    return f"**{name}**" if name == "scad worker" else name


def _rates(of: dict[str, Any]) -> str:
    """The median, and the spread where there are several runs."""
    runs = of.get("readings_per_second_runs", [])
    spread = f" ({min(runs):,} to {max(runs):,})" if len(runs) > 1 else ""
    return f"{of['readings_per_second']:,}{spread}"


def _alerts(of: dict[str, Any]) -> str:
    """Those that were raised, and those that the plain rules raise on the readings that the contender got."""
    expected = of.get("alerts_expected")
    return f"{of['alerts']:,}" + (f" ({expected:,})" if expected is not None else "")


def growth_table(figures: dict[str, Any]) -> str:
    """Markdown: readings a second and peak memory by the number of patients."""
    growth = figures["growth"]
    heads = " | ".join(f"{of['patients']:,} patients" for of in growth)
    lines = [f"| readings/s; peak memory, MiB | {heads} |", f"| --- |{' ---: |' * len(growth)}"]
    for name in growth[0]["contenders"]:
        found = (of["contenders"][name] for of in growth)
        cells = " | ".join(f"{of['readings_per_second']:,}; {of['memory_mib']:,}" for of in found)
        lines.append(f"| {_shown(name)} | {cells} |")
    counted = " | ".join(f"{of['readings']:,} in {of['days']}" for of in growth)
    return "\n".join([*lines, f"| *readings, days* | {counted} |"])


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


def latency_table(figures: dict[str, Any]) -> str:
    """Markdown: publish to page."""
    lines = [
        "| load | readings/s | probes | p50, ms | p99, ms | p99.9, ms |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for of in figures["latency"]:
        share, rate = f"{of['share_of_capacity']:.0%}", of["readings_per_second"]
        times = " | ".join(f"{of[name]:,.0f}" for name in ("p50_ms", "p99_ms", "p99_9_ms"))
        lines.append(f"| {share} | {rate:,.0f} | {of['probes']} | {times} |")
    return "\n".join(lines)


def path_table(figures: dict[str, Any]) -> str:
    """Markdown: what each process spends on a reading of the whole path."""
    alone, together = figures["capacity"]
    names = list(alone["cpu_seconds_per_million"])
    lines = [
        f"| CPU s per million readings | one a message | {together['together']} a message |",
        "| --- | ---: | ---: |",
    ]
    for name in names:
        values = (of["cpu_seconds_per_million"][name] for of in (alone, together))
        lines.append(f"| {name} | {' | '.join(f'{value:,.0f}' for value in values)} |")
    rates = " | ".join(f"{of['readings_per_second']:,}" for of in (alone, together))
    stored = " | ".join(f"{sum(of['kafka_bytes_per_reading'].values()):,.0f}" for of in (alone, together))
    return "\n".join(
        [*lines, f"| *readings/s, whole path* | {rates} |", f"| *bytes a reading in Kafka* | {stored} |"]
    )


def recovery_table(figures: dict[str, Any]) -> str:
    """Markdown: from start to back at work."""
    lines = [
        "| patients | back at work after, s | CPU s | peak memory, MiB | bytes a patient in the changelog |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for of in figures["recovery"]:
        numbers = (of["patients"], of["seconds"], of["cpu_seconds"], of["memory_mib"])
        cells = " | ".join(f"{number:,}" for number in (*numbers, of["changelog_bytes_a_patient"]))
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def recovered(figures: dict[str, Any]) -> str:
    """A sentence: the largest numbers of patients and how soon they are back."""
    found = [
        f"one with {of['patients']:,} patients {of['seconds']:,.0f} s after its start ({of['memory_mib']:,} MiB)"
        for of in figures["recovery"][-2:]
    ]
    return f"A worker is back at work: {', '.join(found)}."


def database_table(figures: dict[str, Any]) -> str:
    """Markdown: bytes of a reading."""
    written, packed = figures["as_written"], figures["columnstore"]
    lines = ["| | bytes a reading |", "| --- | ---: |"]
    lines += [f"| `{name}` | {size:,.0f} |" for name, size in written["bytes_per_reading"].items()]
    lines.append(f"| **all, as written** | **{written['bytes_per_million_readings'] / 1e6:,.0f}** |")
    if isinstance(packed, str):
        return "\n".join([*lines, f"| `scad.reading` in the columnstore | {packed} |"])
    small = f"{packed['bytes_per_reading_compressed']:,.0f} ({packed['times_smaller']} times smaller)"
    lines.append(
        f"| `scad.reading` before compression, community edition | {packed['bytes_per_reading']:,.0f} |"
    )
    return "\n".join([*lines, f"| the same in the columnstore | {small} |"])


MILLION_ROWS = (
    ("readings_per_second_mean", "readings a second, mean of the day"),
    ("readings_per_second_peak", "readings a second in the busiest hour"),
    ("workers", "workers (one core and 16 GB each)"),
    ("partitions", "partitions of each topic"),
    ("brokers", "Kafka brokers (4 cores each, three replicas)"),
    ("kafka_megabytes_per_second_peak", "MB a second written by all brokers in the busiest hour"),
    ("kafka_terabytes", "TB in Kafka, 7 days, three replicas"),
    ("database_nodes", "database nodes that take writes"),
    ("terabytes_a_year", "TB a year in the database, as written"),
    ("terabytes_a_year_compressed", "TB a year, compressed after 60 days"),
    ("states_gib", "GiB of patients' states in all workers"),
    ("cores_busy_mean", "cores at work, mean of the day"),
    ("watts_busy", "watts of these"),
    ("watts_idle", "watts of brokers, workers and databases while nothing comes"),
    ("watts_installed", "watts of all cores that the busiest hour needs"),
)


def million_table(figures: dict[str, Any]) -> str:
    """Markdown: a million patients."""
    of = figures["million"]
    lines = ["| a million patients | |", "| --- | ---: |"]
    lines += [f"| {words} | {of[name]:,} |" for name, words in MILLION_ROWS if name in of]
    if first := of.get("saturates_first"):
        lines.append(
            f"| readings a second of one {first['what']}, which saturates first | {first['readings_per_second']:,} |"
        )
    return "\n".join(lines)


def footprint_table(figures: dict[str, Any]) -> str:
    """Markdown: a patient-year."""
    lines = [
        "| a patient-year on | readings | CPU s | gathered, CPU s | Wh | MB | compressed, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, of in figures["footprint"].items():
        cells = [f"{of['readings']:,}", f"{of['cpu_seconds']:,.1f}", f"{of['cpu_seconds_together']:,.1f}"]
        cells += [f"{of['watt_hours']:.3f}", f"{of['megabytes']:.2f}", f"{of['megabytes_compressed']:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "peers": ("peers", peers_table),
    "contenders": ("peers", contenders_table),
    "growth": ("growth", growth_table),
    "latency": ("latency", latency_table),
    "path": ("latency", path_table),
    "recovery": ("recovery", recovery_table),
    "recovered": ("recovery", recovered),
    "database": ("database", database_table),
    "million": ("scale", million_table),
    "footprint": ("scale", footprint_table),
} | MORE
"""By the name of the place in a page: the result, and what is shown of it."""


def shown(name: str, results: Mapping[str, dict[str, Any]]) -> str | None:
    """A table with its circumstances; None while its result, or what it shows of it, has not been measured."""
    result, table = TABLES[name]
    figures = results.get(result)
    if figures is None:
        return None
    try:
        found = table(figures)
    except KeyError:  # an older result, from before the script measured this
        return None
    if found.startswith("|") and len(found.splitlines()) <= HEAD_LINES:
        return None
    return f"{found}\n\n*{where(figures)}*"


def filled(text: str, results: Mapping[str, dict[str, Any]]) -> str:
    """The page with every table between `<!-- begin NAME -->` and `<!-- end NAME -->` made anew, where there is a
    result for it; the other places stay as they are."""

    def table(found: re.Match[str]) -> str:
        text = shown(found[1], results)
        return found[0] if text is None else f"<!-- begin {found[1]} -->\n{text}\n<!-- end {found[1]} -->"

    return re.sub(r"<!-- begin (\w+) -->.*?<!-- end \1 -->", table, text, flags=re.DOTALL)


def kept() -> dict[str, dict[str, Any]]:
    """Every result that has been measured, by name."""
    return {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))}


def main() -> int:
    results = kept()
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    if "peers" in results:
        PLOT.write_text(peers_plot(results["peers"]), encoding="utf-8")
    missing = []
    for name in TABLES:
        table = shown(name, results)
        if table is None:
            missing.append(f"{name} (bench/results/{TABLES[name][0]}.json)")
        else:
            print(f"\n{name}\n\n{table}")
    pages = ", ".join(page.name for page in PAGES)
    print(f"\n{pages} say what was measured; not measured yet: {', '.join(missing) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
