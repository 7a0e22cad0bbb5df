"""compose.yaml: what can be known of a deployment without a container engine. What its pieces do on real
programs stands in test_deploy.py."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

import scad
from alerts.identity.keys import make_master_key
from scad.main import build_app
from scad.services.mosquitto import ACL_FILE, BRIDGE_USER, LIMITS_FILE
from scad.settings import Settings, load_settings

ROOT = Path(scad.__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("scad:")}
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] in ("on-failure", "no")}
SECRETS_DIR = "/run/secrets/"
AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUByS/iId2K1VLT038ByBfnEz6ku8wCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwHhcNMjYxMTIyMTIyMzEzWhcNMjYxMjIyMTIyMzEzWjAN
MQswCQYDVQQDDAJjYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPMcGaLbVePk
PK5lEBMiQSyfQgq8n79ssrOLAjDlgIOF6EhTDyyb3W7YkbQrq18UOOJfGxyz2ywZ
3XmF1XFsXCqjYzBhMB0GA1UdDgQWBBQHEq8zqBO/DXhDvvcVN1fKQeAGyTAfBgNV
HSMEGDAWgBQHEq8zqBO/DXhDvvcVN1fKQeAGyTAPBgNVHRMBAf8EBTADAQH/MA4G
A1UdDwEB/wQEAwIBBjAKBggqhkjOPQQDAgNIADBFAiBDrHFUVyJfkzuMoxeorIXJ
NzjXOiEKuRIefZVk7wHQIQIhAPocXzpkWU7T17fAxHN49Q15jWc7p6GEhEkIxL8T
cy0W
-----END CERTIFICATE-----
"""
"""Anybody's, to be read as one."""

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def environment_of(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def lines_of(name: str) -> list[str]:
    """Every shell line of a service's command; a list of words is one line."""
    command = SERVICES[name].get("command", ["--help"])
    if SERVICES[name].get("entrypoint", [""])[0] == "sh":
        return [line for text in command for line in text.splitlines()]
    return [" ".join(["scad", *command])]


def test_docker_compose_accepts_the_file_and_resolves_every_service(docker_compose):
    done = subprocess.run(
        [docker_compose, "-f", ROOT / "compose.yaml", "--profile", "*", "config", "--format", "json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)


def test_the_deployment_has_the_services_that_the_documentation_names():
    assert set(SERVICES) == {
        *("kafka", "mosquitto", "timescaledb", "init", "grants", "topics", "bridge", "worker", "feed"),
        *("escalation", "synthetic", "prometheus", "grafana", "fleet", "scad", "operator", "housekeeping"),
    }
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {
        "fleet": ["fleet"],
        **{name: ["tools"] for name in ("scad", "operator", "housekeeping")},
    }
    assert {"init", "grants", "topics", "scad", "operator", "housekeeping"} == ONE_SHOT


@each_service
def test_every_image_is_pinned_by_its_full_version(name):
    repository, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-pg17)?", tag), SERVICES[name]["image"]
    assert repository


def test_our_image_carries_the_version_of_the_package():
    assert {service["image"] for service in OURS.values()} == {f"scad:{scad.__version__}"}


@each_service
def test_every_service_has_a_restart_policy_and_what_runs_for_ever_a_health_check(name):
    if name in ONE_SHOT:
        return
    assert SERVICES[name]["restart"] == "unless-stopped"
    check = SERVICES[name]["healthcheck"]
    assert check["test"]
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@each_service
def test_every_service_is_confined(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service.get("read_only") or name == "kafka"  # its image writes its own configuration at the start


def test_only_devices_and_the_page_reach_in_and_the_page_from_this_machine_alone():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "mosquitto": [
            "${MQTT_ADDRESS:-0.0.0.0:8883}:8883",
            "${MQTT_CERTIFICATE_ADDRESS:-127.0.0.1:8884}:8884",
        ],
        "feed": ["${FEED_ADDRESS:-127.0.0.1:8080}:8080"],
    }
    assert COMPOSE["networks"]["core"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "edge" in service["networks"]}
    assert outside == {"mosquitto", "feed", "grafana", "escalation", "prometheus"}


def test_volumes_have_the_names_that_the_documentation_says():
    named = set()
    for page in ("operation", "backup"):
        named |= set(re.findall(r"\bscad_([a-z]+):/", (ROOT / f"docs/{page}.md").read_text()))
    assert COMPOSE["name"] == "scad"
    assert named == {"timescaledb"}
    assert named <= set(COMPOSE["volumes"])


@each_service
def test_what_a_service_waits_for_exists_and_can_become_so(name):
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert condition == {"condition": wanted}, other


def test_every_secret_is_a_file_and_used():
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./deploy/secrets/{name}"}
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])


@each_service
def test_no_password_stands_in_the_file(name):
    for variable, value in environment_of(name).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|DATABASE(?!_)|_KEY(?!STORE)", variable):
            assert variable.endswith("_FILE"), f"{variable} of {name} is to come from a file"
        if str(value).startswith(SECRETS_DIR):
            assert value.removeprefix(SECRETS_DIR) in SERVICES[name]["secrets"], variable
    assert "://scad:" not in json.dumps(SERVICES[name])


@each_service
def test_a_service_is_given_every_secret_that_it_names(name):
    text = json.dumps(SERVICES[name])
    for secret in re.findall(rf"{SECRETS_DIR}(\w+)", text):
        assert secret in SERVICES[name]["secrets"]


@each_of_ours
def test_every_line_of_ours_to_another_service_is_encrypted_with_an_account_of_its_own(name):
    environment = environment_of(name)
    for service, account in (("KAFKA", "KAFKA_PASSWORD_FILE"), ("MQTT", "")):
        if f"SCAD_{service}" in environment:
            assert environment[f"SCAD_{service}_TLS"] == "true"
            assert environment[f"SCAD_{service}_CA_FILE"] == "/run/secrets/ca_certificate"
            assert not account or f"SCAD_{account}" in environment
    if "SCAD_KAFKA" not in environment and "SCAD_DATABASE_FILE" not in environment:
        assert name in ("fleet", "operator")
    if any("database_url" in secret for secret in SERVICES[name]["secrets"]):
        assert "ca_certificate" in SERVICES[name]["secrets"]  # the address names it


def test_only_what_changes_the_schema_and_people_have_the_owner_of_the_database():
    owners = {name for name, service in SERVICES.items() if "database_url" in service.get("secrets", [])}
    assert owners == {"init", "grants", "scad", "housekeeping"}
    assert all(SERVICES[name]["restart"] in ("on-failure", "no") for name in owners), "none runs for ever"


def test_every_path_that_is_mounted_exists():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


@each_of_ours
def test_every_setting_exists_and_can_be_used(name, tmp_path):
    fields = {f"SCAD_{field.upper()}" for field in Settings.__struct_fields__}
    environ = {}
    for variable, value in environment_of(name).items():
        assert variable.removesuffix("_FILE") in fields, variable
        value = re.sub(r"\$\{\w+:?-(.*?)\}", r"\1", value)
        if variable.endswith("_FILE"):
            text = AUTHORITY if variable.endswith("_CA_FILE") else "drawn-at-random-as-long-as-a-secret\n"
            if "database_url" in value:
                text = "postgresql://scad:drawn@timescaledb:5432/scad?sslmode=verify-full\n"
            if "identity_key" in value:
                text = make_master_key()
            (tmp_path / variable).write_text(text)
            value = str(tmp_path / variable)
        environ[variable] = value
    settings = load_settings(environ)
    assert settings.clock == ""
    for address in (settings.kafka, settings.mqtt):
        assert address.split(":")[0] in SERVICES


@each_of_ours
def test_every_command_and_option_exists(name):
    application = typer.main.get_command(build_app())
    lines = [line for line in lines_of(name) if "scad " in line]
    assert lines
    for line in lines:
        words = line[line.index("scad ") :].split()[1:]
        command = application
        while hasattr(command, "commands") and words != ["--help"]:  # a group
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, line


def test_each_worker_has_a_name_of_its_own_and_the_bridge_keeps_its_session():
    assert "SCAD_WORKER_ID" not in environment_of("worker")
    assert lines_of("worker") == ["SCAD_WORKER_ID=$$(cat /etc/hostname) exec scad worker"]
    assert environment_of("bridge")["SCAD_WORKER_ID"]


def test_partitions_and_replication_are_the_same_everywhere():
    given = {
        (environment_of(name).get("SCAD_PARTITIONS"), environment_of(name).get("SCAD_REPLICATION"))
        for name in ("bridge", "worker", "synthetic")
    }
    assert given == {(str(Settings().partitions), str(Settings().replication))}


def test_escalation_sends_nothing_until_it_is_told_where_and_by_which_account():
    environment = environment_of("escalation")
    assert environment["SCAD_SMTP_HOST"] == "${SMTP_HOST:-}"
    assert environment["SCAD_SMTP_SECURITY"] == "${SMTP_SECURITY:-starttls}"
    assert {"SCAD_SMTP_PASSWORD_FILE", "SCAD_WEBHOOK_SECRET_FILE"} <= set(environment)


def test_mosquitto_runs_with_the_access_list_and_the_bounds_of_the_tests():
    volumes = SERVICES["mosquitto"]["volumes"]
    sources = {Path(volume.split(":")[0]).name: ROOT / volume.split(":")[0] for volume in volumes}
    assert sources["mosquitto.acl"].resolve() == ACL_FILE
    assert sources["mosquitto_limits.conf"].resolve() == LIMITS_FILE
    assert environment_of("bridge")["SCAD_MQTT_USER"] == BRIDGE_USER
    assert f"-u {BRIDGE_USER} " in SERVICES["mosquitto"]["healthcheck"]["test"][1]


def test_the_cluster_id_is_one_that_kafka_accepts():
    cluster_id = environment_of("kafka")["CLUSTER_ID"]
    assert len(base64.urlsafe_b64decode(cluster_id + "==")) == 16


def test_prometheus_scrapes_what_shows_metrics():
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {"prometheus", "bridge", "worker", "writer", "escalation", "feed"}
    assert jobs["writer"]["dns_sd_configs"][0]["port"] == int(environment_of("worker")["SCAD_METRICS_PORT"])
    for name, port in (
        *((name, environment_of(name)["SCAD_METRICS_PORT"]) for name in ("bridge", "worker", "escalation")),
        ("feed", environment_of("feed")["SCAD_FEED_PORT"]),
    ):
        (lookup,) = jobs[name]["dns_sd_configs"]
        assert (lookup["names"], lookup["port"], lookup["type"]) == ([name], int(port), "A")
        assert "core" in SERVICES[name]["networks"]
    login = jobs["feed"]["basic_auth"]
    assert login["password_file"].removeprefix(SECRETS_DIR) in SERVICES["prometheus"]["secrets"]
    assert any(f"account add {login['username']} --role engineer" in line for line in lines_of("init"))


def test_alerts_go_to_whoever_is_named_and_to_nobody_before():
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    ((named,),) = (manager["file_sd_configs"] for manager in config["alerting"]["alertmanagers"])
    volumes = [volume.split(":") for volume in SERVICES["prometheus"]["volumes"]]
    (folder,) = (
        source
        for source, target, *_ in volumes
        if target == "/etc/prometheus/" + named["files"][0].split("/")[0]
    )
    assert [yaml.safe_load(path.read_text()) for path in (ROOT / folder).iterdir()] == [[]]
    assert any(word.startswith("--web.external-url=") for word in SERVICES["prometheus"]["command"])


def block_of(page: str, name: str) -> str:
    text = (ROOT / f"docs/{page}.md").read_text()
    (found,) = re.findall(rf"<!-- {name}: [^>]*-->\n```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found


def test_the_alertmanager_that_is_shown_gets_every_severity_to_a_receiver_that_exists():
    config = yaml.safe_load(block_of("runbooks", "alertmanager"))
    assert set(config) == {"global", "route", "time_intervals", "receivers"}  # of Alertmanager 0.28
    receivers = {receiver["name"] for receiver in config["receivers"]}
    times = {interval["name"] for interval in config["time_intervals"]}
    routes = [config["route"], *config["route"]["routes"]]
    known = {
        "receiver",
        "group_by",
        "group_wait",
        "repeat_interval",
        "routes",
        "matchers",
        "active_time_intervals",
    }
    for route in routes:
        assert set(route) <= known
        assert route["receiver"] in receivers
        assert set(route.get("active_time_intervals", ())) <= times
    matched = {matcher for route in routes for matcher in route.get("matchers", ())}
    assert matched == {'severity="page"', 'severity="ticket"'}
    for receiver in config["receivers"]:
        for mail in receiver["email_configs"]:
            assert "/runbooks/#{{ .Labels.alertname | toLower }}" in mail["text"]  # its sections are named so
    (named,) = yaml.safe_load(block_of("runbooks", "named"))
    assert named["targets"] == ["alertmanager:9093"]


OVERRIDES = {
    f"{page}-{number}": block
    for page in ("operation", "backup", "runbooks")
    for number, block in enumerate(
        re.findall(
            r"^```yaml\n(services:.*?)^```", (ROOT / f"docs/{page}.md").read_text(), re.MULTILINE | re.DOTALL
        )
    )
}


@pytest.mark.parametrize("name", sorted(OVERRIDES))
def test_docker_compose_accepts_each_override_that_is_shown(name, docker_compose, tmp_path):
    assert {each.split("-")[0] for each in OVERRIDES} == {"operation", "backup", "runbooks"}
    override = tmp_path / "compose.override.yaml"
    override.write_text(OVERRIDES[name])
    command = [docker_compose, "-f", ROOT / "compose.yaml", "-f", override, "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    merged, shown = json.loads(done.stdout), yaml.safe_load(OVERRIDES[name])
    for service, added in shown["services"].items():
        assert set(added) <= set(merged["services"][service])
        image = SERVICES.get(service, added).get("image", added.get("image"))
        assert merged["services"][service]["image"] == image


def test_promtool_accepts_the_configuration(promtool):
    done = subprocess.run(
        [promtool, "check", "config", "--syntax-only", ROOT / "deploy/prometheus.yml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_given_its_data_sources_without_a_password_in_them():
    config = yaml.safe_load((ROOT / "deploy/grafana/datasources.yaml").read_text())
    assert config["apiVersion"] == 1
    for source in config["datasources"]:
        host = source["url"].removeprefix("http://").split(":")[0]
        assert "core" in SERVICES[host]["networks"]
        assert source["uid"]
        for value in source.get("secureJsonData", {}).values():
            (secret,) = re.fullmatch(rf"\$__file\{{{SECRETS_DIR}(\w+)\}}", value).groups()
            assert secret in SERVICES["grafana"]["secrets"]


def test_the_image_is_built_from_files_that_exist_and_pinned_packages():
    text = (ROOT / "deploy/Dockerfile").read_text()
    let_through = {
        line[1:]
        for line in (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = set()
    for words in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        copied |= set(words.split()[:-1])
    assert copied == let_through
    for path in copied:
        assert (ROOT / path).exists(), path
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases[0])
    for line in re.findall(r"pip install (.*)", text):
        assert "--require-hashes" in line or line.startswith("--no-deps --no-build-isolation .")
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert all(service["user"] == "10001:10001" for service in OURS.values())


def test_the_pinned_setuptools_is_found_where_the_image_looks_for_it():
    lines = (ROOT / "requirements-embedded.txt").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("setuptools=="))
    assert lines[start].endswith("\\")
    assert lines[start + 1].strip().startswith("--hash=sha256:")
