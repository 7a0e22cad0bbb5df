"""Every panel's expression and every rule on a real Prometheus server.

The recorded series of the panels' tests (panel_series.py) are given to it as its past, so its answers can be compared
with the figures worked out by hand; what it scrapes now are the metrics of this process, in which those of bridge,
worker, writer and feed are.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest
from panel_series import EXPECTED, SERIES
from prometheus_client import start_http_server
from test_dashboards_metrics import ALERTS, EXPRESSIONS, PROMETHEUS

from alerts.feed.metrics import FeedMetrics
from scad.services import HOST, Prometheus, ServiceError, wait_until
from streams import metrics

SECONDS = 30.0
MINUTES = 120


def past(begin_s: int) -> str:
    """The recorded series as OpenMetrics with times, one value a minute. What is itself an instant moves with them."""
    lines = []
    for series, notation in SERIES.items():
        found = re.fullmatch(r"([\d.]+)(?:\+(\d+))?x(\d+)", notation)
        assert found is not None, notation
        first, step, count = float(found[1]), int(found[2] or 0), int(found[3])
        assert count == MINUTES
        if first and "timestamp_seconds" in series:
            first += begin_s
        lines += [f"{series} {first + step * n} {begin_s + 60 * n}" for n in range(count + 1)]
    return "\n".join([*lines, "# EOF\n"])


def values(answer: list[dict[str, Any]]) -> dict[str, float]:
    """As panel_series.py writes them: labels in the order of their names, no braces where there are none."""
    found = {}
    for series in answer:
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(series["metric"].items()))
        found[f"{{{labels}}}" if labels else ""] = float(series["value"][1])
    return found


@pytest.fixture
def scraped() -> Iterator[dict[str, list[str]]]:
    """Jobs and addresses of two exporters of this process: the platform's own registry, and a feed's."""
    feed = FeedMetrics()
    feed.room(size=7_000, connections=17, most=20)
    servers = [
        start_http_server(0, HOST),
        start_http_server(0, HOST, feed.registry),
    ]
    yield {
        name: [f"{HOST}:{server.server_port}"]
        for name, (server, _) in zip(("worker", "feed"), servers, strict=True)
    }
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_real_server_answers_every_panel_as_worked_out_and_evaluates_every_rule(
    promtool: Path, prometheus: Callable[..., Prometheus], scraped: dict[str, list[str]], tmp_path: Path
):
    begin_s = int(time()) - 4 * 3600

    def remember(server: Prometheus) -> None:
        (tmp_path / "past").write_text(past(begin_s))
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "past", server.data]
        subprocess.run(command, check=True, capture_output=True)

    rules = []
    for path in sorted((PROMETHEUS / "rules").iterdir()):
        # each group when the server says, which is every second
        rules.append(tmp_path / path.name)
        rules[-1].write_text(re.sub(r"^ +interval: .*\n", "", path.read_text(), flags=re.MULTILINE))

    metrics.RECOVERY.set(11.5)
    server = prometheus(scraped, tuple(rules), before=remember)

    for name, expected in EXPECTED.items():
        got = values(server.ask(EXPRESSIONS[name], begin_s + 60 * MINUTES))
        assert got == pytest.approx(expected), name

    wait_until(lambda: server.ask("max(scad_worker_recovery_seconds)") != [], SECONDS, "a scrape")
    assert values(server.ask("max(scad_worker_recovery_seconds)")) == {"": 11.5}
    busy = "max(scad_database_connections / scad_database_connections_max)"
    wait_until(lambda: server.ask(busy) != [], SECONDS, "a scrape of the feed")
    assert values(server.ask(busy)) == {"": 0.85}

    wait_until(lambda: all(rule["health"] != "unknown" for rule in server.rules()), SECONDS, "every rule")
    assert not [rule for rule in server.rules() if rule["health"] != "ok"]
    names = {rule["name"] for rule in server.rules()}
    assert names >= {rule["alert"] for rule in ALERTS}

    def pending() -> set[str]:
        return {rule["name"] for rule in server.rules() if rule.get("state") == "pending"}

    # for ten minutes before it fires
    wait_until(lambda: "ScadDatabaseConnections" in pending(), SECONDS, "the rule on connections")

    with pytest.raises(ServiceError, match="parse error"):
        server.ask("sum by (le (")
