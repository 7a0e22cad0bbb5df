"""Metrics and PromQL: names, labels, the rules' own unit tests, and every panel's expression on recorded series."""

from __future__ import annotations

import importlib
import os
import re
import ssl
import subprocess
import threading
from pathlib import Path
from socket import create_connection, create_server
from typing import Any

import pytest
import yaml
from panel_series import EXPECTED, SERIES
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric

from alerts.dashboards import boards
from alerts.dashboards.parts import Prom
from alerts.feed.metrics import FeedMetrics
from scad.backups.folder import Folder
from scad.backups.telling import BackupFigures
from scad.tls import valid_until
from streams import metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
ALERTS_OF = {
    name: yaml.safe_load((PROMETHEUS / f"rules/{name}.yml").read_text())["groups"][0]["rules"]
    for name in ("alerts", "capacity")
}
RECORDING = yaml.safe_load((PROMETHEUS / "rules/recording.yml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rules in ALERTS_OF.values() for rule in rules]
EXPRESSIONS = {
    f"{name}: {panel.title}/{query.ref}": query.expr
    for name, board in boards().items()
    for panel in board.panels
    for query in panel.queries
    if isinstance(query, Prom)
}

for module in ("streams.writer", "alerts.escalation.metrics", "alerts.store.rows"):
    importlib.import_module(module)

LABELS = {
    *(
        "outcome",
        "reason",
        "protocol",
        "rule",
        "state",
        "topic",
        "agent",
        "kind",
        "result",
        "cause",
        "channel",
        "level",
    ),
    *("method", "route", "status", "action", "class", "severity", "partition", "lane", "stage", "le"),
}
"""Labels whose values are a short list that the code knows. Never a device, a patient, a person or an address."""
FROM_OUTSIDE = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def families() -> list[Metric]:
    metrics.LAG.source = lambda: {("scad.telemetry", 3): 17}
    try:
        backups = CollectorRegistry()
        backups.register(BackupFigures(Folder(Path("nowhere"))))
        registries: list[CollectorRegistry] = [REGISTRY, FeedMetrics().registry, backups]
        found = [family for registry in registries for family in registry.collect()]
    finally:
        metrics.LAG.source = dict
    return [family for family in found if family.name.startswith("scad_")]


FAMILIES = families()


def exposed() -> set[str]:
    """Names as Prometheus sees them."""
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + end for family in FAMILIES for end in ends.get(family.type, ("",))}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_metric_is_named_and_described_as_the_conventions_ask(family: Metric):
    assert re.fullmatch(r"scad_[a-z]+(_[a-z0-9]+)*", family.name)
    assert family.documentation
    assert not re.search(r"_(ms|millis|minutes|hours|days|kb|mb|percent)(_|$)", family.name), (
        "base units only"
    )
    if family.type != "counter":
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
    if "time" in family.documentation.lower().split() and family.type == "histogram":
        assert family.name.endswith("_seconds")


def declared() -> dict[str, set[str]]:
    """The labels that each registered metric of ours was made with, also where it has no sample yet."""
    found = {}
    for registry in (REGISTRY, FeedMetrics().registry):
        for collector, names in registry._collector_to_names.items():
            ours = [name for name in names if name.startswith("scad_")]
            if ours:
                found[min(ours, key=len)] = set(getattr(collector, "_labelnames", ()))
    return found


DECLARED = declared()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_label_has_a_bounded_set_of_values(family: Metric):
    for sample in family.samples:
        assert set(sample.labels) <= LABELS


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_a_label_that_has_no_sample_yet_is_bounded_too(name: str):
    assert DECLARED[name] <= LABELS


def test_labels_that_nothing_has_been_counted_with_are_looked_at():
    silent = {family.name for family in FAMILIES if not family.samples}
    assert {"topic"} in DECLARED.values()
    assert any(DECLARED[name] for name in silent & set(DECLARED)), "or the check of samples would do"


def test_lag_is_told_by_partition():
    (family,) = (family for family in FAMILIES if family.name == "scad_worker_lag_records")
    assert [(s.labels, s.value) for s in family.samples] == [
        ({"topic": "scad.telemetry", "partition": "3"}, 17)
    ]


def test_a_bridge_knows_when_the_brokers_certificate_expires(tmp_path):
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=broker", "-addext", "subjectAltName=DNS:broker", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    said = subprocess.run(
        ["openssl", "x509", "-enddate", "-noout", "-in", certificate],
        check=True,
        capture_output=True,
        text=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    with create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            accepted, _ = listener.accept()
            with server.wrap_socket(accepted, server_side=True) as peer:
                peer.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        plain = create_connection(listener.getsockname())
        assert valid_until(plain) == 0.0
        context = ssl.create_default_context(cafile=certificate)
        with context.wrap_socket(plain, server_hostname="broker") as connection:
            expires = valid_until(connection)
        thread.join()
    assert expires == ssl.cert_time_to_seconds(said.stdout.strip().partition("=")[2])


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────


def named(expression: str) -> set[str]:
    """Metrics of ours or the client library's that an expression asks for."""
    return set(re.findall(r"(?<![\w:])((?:scad|process)_\w+|up)(?=[\[{)\s]|$)", expression))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_runbook_that_exists(rule: dict[str, Any]):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbooks.md"
    assert anchor == rule["alert"].lower()
    sections = re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)
    (section,) = (text for text in sections if text.startswith(f"{rule['alert']}\n"))
    for word in ("**Means.**", "**Look.**", "**Do.**"):
        assert word in section


def test_rules_and_panels_ask_for_metrics_that_some_process_shows():
    expressions = [*EXPRESSIONS.values()]
    for name in (*ALERTS_OF, "recording"):
        groups = yaml.safe_load((PROMETHEUS / f"rules/{name}.yml").read_text())["groups"]
        expressions += [rule["expr"] for group in groups for rule in group["rules"]]
    asked = set().union(*map(named, expressions))
    assert len(asked) > 25
    assert asked - FROM_OUTSIDE - exposed() == set()


def test_every_recording_rule_is_used():
    recorded = {rule["record"] for rule in RECORDING}
    asked = " ".join([*EXPRESSIONS.values(), *(rule["expr"] for rule in ALERTS)])
    assert recorded == set(re.findall(r"\bscad:[\w:]+", asked))
    tested = yaml.safe_load((PROMETHEUS / "tests/recording.yml").read_text())["tests"]
    assert recorded == {test["expr"] for case in tested for test in case["promql_expr_test"]}


def test_what_an_alert_says_with_a_figure_or_a_name_in_it_is_tested():
    for name, rules in ALERTS_OF.items():
        cases = yaml.safe_load((PROMETHEUS / f"tests/{name}.yml").read_text())["tests"]
        said = {
            test["alertname"]
            for case in cases
            for test in case.get("alert_rule_test", ())
            if all(alert["exp_annotations"] for alert in test["exp_alerts"])
        }
        assert said == {rule["alert"] for rule in rules if "{{" in str(rule["annotations"])}


def promtool_says(promtool: Path, *arguments: object) -> None:
    # each of its tests makes a database of its own: in memory, where there is such a folder, it waits for no disk
    memory = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}  # noqa: S108
    done = subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, env={**os.environ, **memory}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules(promtool):
    promtool_says(promtool, "check", "rules", "--lint=all", "--lint-fatal", *(PROMETHEUS / "rules").iterdir())


def test_every_alert_fires_in_its_case_and_is_quiet_in_the_other(promtool):
    for name, rules in ALERTS_OF.items():
        cases = yaml.safe_load((PROMETHEUS / f"tests/{name}.yml").read_text())["tests"]
        names = [case["name"] for case in cases]
        assert names == [f"{rule['alert']} {how}" for rule in rules for how in ("fires", "is quiet")]
    promtool_says(promtool, "test", "rules", *(PROMETHEUS / "tests").iterdir())


def test_an_alert_that_were_wrong_would_be_found(promtool, tmp_path):
    (rule,) = (rule for rule in ALERTS if rule["alert"] == "ScadDatabaseBehind")
    cases = yaml.safe_load((PROMETHEUS / "tests/alerts.yml").read_text())
    (case,) = (case for case in cases["tests"] if case["name"] == "ScadDatabaseBehind fires")
    for limit, status in (("60", 0), ("6000", 1)):
        wrong = {**rule, "expr": rule["expr"].replace("60", limit)}
        rules = {"groups": [{"name": "one", "rules": [wrong]}]}
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
        test = tmp_path / "test.yml"
        test.write_text(yaml.safe_dump({**cases, "rule_files": ["rules.yml"], "tests": [case]}))
        done = subprocess.run([promtool, "test", "rules", test], capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr


# ── panels ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_expression_of_a_panel_has_figures_to_compare_with():
    assert set(EXPECTED) == set(EXPRESSIONS)


def test_every_expression_of_a_panel_gives_what_the_recorded_series_say(promtool, tmp_path):
    document = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in SERIES.items()],
                "promql_expr_test": [
                    {
                        "expr": EXPRESSIONS[name],
                        "eval_time": "2h",
                        "exp_samples": [
                            {"labels": labels or "{}", "value": value} for labels, value in samples.items()
                        ],
                    }
                    for name, samples in EXPECTED.items()
                ],
            }
        ],
    }
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump(document))
    promtool_says(promtool, "test", "rules", path)
