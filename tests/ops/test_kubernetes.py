"""The Kubernetes objects: by Kubernetes' own schemas in strict mode, and against the program that they start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

import scad
from scad.main import build_app
from scad.services.mosquitto import ACL_FILE, LIMITS_FILE
from scad.settings import Settings
from streams.access import ROLES

ROOT = Path(scad.__file__).resolve().parents[1]
FOLDER = ROOT / "deploy/kubernetes"
VERSION = "1.31"
FILES = ("platform.yaml", "mosquitto.yaml", "network.yaml")
OBJECTS: list[dict[str, Any]] = [
    each for name in FILES for each in yaml.safe_load_all((FOLDER / name).read_text()) if each
]


def of_job(each: dict[str, Any]) -> dict[str, Any]:
    """What has the pod's template: of a CronJob the job that it starts."""
    spec: dict[str, Any] = each.get("spec", {})
    return dict(spec["jobTemplate"]["spec"]) if "jobTemplate" in spec else spec


PODS = {
    each["metadata"]["name"]: each
    for each in OBJECTS
    if each["kind"] != "Service" and "template" in of_job(each)
}
OURS = {name: each for name, each in PODS.items() if name != "mosquitto"}
SHARED = next(each["data"] for each in OBJECTS if each["kind"] == "ConfigMap")

each_pod = pytest.mark.parametrize("name", sorted(PODS))
each_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = of_job(PODS[name])["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["containers"]
    return dict(only)


@pytest.mark.parametrize("which", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_every_object_fits_the_schema_of_kubernetes_and_has_no_unknown_field(which: dict[str, Any]):
    kubernetes_validate.validate(which, VERSION, strict=True)


def test_a_field_that_does_not_exist_would_be_found():
    wrong = yaml.safe_load((FOLDER / "network.yaml").read_text().split("---")[0])
    wrong["spec"]["podSelectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@each_of_ours
def test_every_setting_and_command_exists_and_every_secret_is_mounted(name: str):
    given = SHARED | {each["name"]: each.get("value", "") for each in container(name)["env"]}
    fields = {f"SCAD_{field.upper()}" for field in Settings.__struct_fields__}
    mounted = {
        item["path"] for volume in pod(name)["volumes"] for item in volume.get("secret", {}).get("items", [])
    }
    for variable, value in given.items():
        assert variable.removesuffix("_FILE") in fields, variable
        assert not re.search(r"PASSWORD$|SECRET$|DATABASE$", variable), "secrets come from files"
        if value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in mounted, (variable, value)
    words = list(container(name)["args"])
    command = typer.main.get_command(build_app())
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@each_pod
def test_every_pod_is_confined_bounded_and_may_not_speak_to_the_cluster(name: str):
    spec, only = pod(name), container(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert only["securityContext"]["readOnlyRootFilesystem"] is True
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert only["resources"]["limits"]["memory"]
    mounts = {mount["name"] for mount in only["volumeMounts"]}
    there = {volume["name"] for volume in spec["volumes"]}
    there |= {claim["metadata"]["name"] for claim in PODS[name]["spec"].get("volumeClaimTemplates", [])}
    assert mounts == there


@pytest.mark.parametrize("name", ["bridge", "worker", "feed", "escalation"])
def test_probes_ask_the_port_on_which_the_process_answers(name: str):
    environment = {each["name"]: each.get("value") for each in container(name)["env"]}
    port = environment.get("SCAD_FEED_PORT") or environment["SCAD_METRICS_PORT"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert str(container(name)[probe]["httpGet"]["port"]) == port
    assert [each["containerPort"] for each in container(name)["ports"]] == [int(port)]


def test_bridges_and_workers_keep_their_names_and_selectors_find_somebody():
    for name in ("bridge", "worker"):
        assert PODS[name]["kind"] == "StatefulSet"
        names = [each for each in container(name)["env"] if each["name"] == "SCAD_WORKER_ID"]
        assert names[0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    components = {
        of_job(each)["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in PODS.values()
    }
    for each in OBJECTS:
        if each["kind"] == "Service":
            assert each["spec"]["selector"]["app.kubernetes.io/component"] in components
    assert {each["spec"]["serviceName"] for each in PODS.values() if each["kind"] == "StatefulSet"} <= {
        each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Service"
    }


def test_each_process_that_speaks_to_kafka_has_an_account_of_its_own_and_the_others_have_none():
    accounts = {}
    for name in OURS:
        given = {each["name"]: each.get("value", "") for each in container(name)["env"]}
        mounted = {
            item["path"]
            for volume in pod(name)["volumes"]
            for item in volume.get("secret", {}).get("items", [])
        }
        account = given.get("SCAD_KAFKA_USER")
        file = "kafka_password" if account == "scad" else f"kafka_{account}_password"
        if account is not None:
            accounts[name] = account
            assert given["SCAD_KAFKA_PASSWORD_FILE"] == f"/run/secrets/{file}"
        assert {path for path in mounted if path.startswith("kafka_")} == ({file} if account else set())
    assert accounts == {
        "topics": "scad",
        "check": "scad",
        "bridge": "bridge",
        "worker": "worker",
        "synthetic": "enrol",
    }
    assert set(accounts.values()) - {"scad"} <= set(ROLES)
    assert "SCAD_KAFKA_USER" not in SHARED


def test_the_house_is_kept_once_a_day_by_the_owner_with_the_keys():
    cron = PODS["housekeeping"]
    assert cron["kind"] == "CronJob"
    assert container("housekeeping")["args"] == ["housekeeping"]
    minute, hour, *rest = cron["spec"]["schedule"].split()
    assert (minute.isdigit(), hour.isdigit(), rest) == (True, True, ["*"] * 3)
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"


def test_every_hour_somebody_looks_and_one_fault_is_one_failed_job():
    cron = PODS["check"]
    assert container("check")["args"] == ["check"]
    assert cron["spec"]["schedule"].split()[1:] == ["*"] * 4
    assert (of_job(cron)["backoffLimit"], pod("check")["restartPolicy"]) == (0, "Never")
    given = {each["name"]: each["value"] for each in container("check")["env"]}
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["scad"]["environment"]
    keys = "SCAD_IDENTITY_KEYS_FILE"  # of the commands that write names: a check reads none
    assert {name: value for name, value in composed.items() if name not in {keys, *SHARED}} == {
        **given,
        **{name: composed[name] for name in ("SCAD_METRICS_HOST", "SCAD_METRICS_PORT")},
    }
    (devices,) = (
        each for each in OBJECTS if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "devices"
    )
    asks = devices["spec"]["ingress"][1]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert asks == ["bridge", "check"], "or the check could not log in to mosquitto"


def test_the_prometheus_that_is_shown_asks_each_process_on_its_port():
    text = (ROOT / "docs/kubernetes.md").read_text()
    (block,) = re.findall(r"<!-- scrape: [^>]*-->\n```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    jobs = {job["job_name"]: job for job in yaml.safe_load(block)}
    composed = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    # names of jobs are what the rules and dashboards ask for
    assert set(jobs) == {job["job_name"] for job in composed} - {"prometheus", "writer"}
    for name, job in jobs.items():
        kept, port = job["relabel_configs"]
        assert (kept["regex"], kept["action"]) == (name, "keep")
        assert [each["containerPort"] for each in container(name)["ports"]] == [int(port["regex"])]
    assert jobs["feed"]["basic_auth"]["username"] == "prometheus"


def test_the_kustomization_brings_every_file_and_the_brokers_own_configuration():
    text = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert text["resources"] == list(FILES)
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*FILES, "kustomization.yaml"}
    (generated,) = text["configMapGenerator"]
    files = {
        name: (FOLDER / path).resolve() for name, path in (each.split("=") for each in generated["files"])
    }
    assert files["mosquitto.acl"] == ACL_FILE
    assert files["mosquitto_limits.conf"] == LIMITS_FILE
    assert all(path.is_file() for path in files.values())
    used = {
        item["key"]
        for volume in pod("mosquitto")["volumes"]
        for item in volume.get("configMap", {}).get("items", [])
    }
    assert used == set(files)
    assert text["images"] == [{"name": "scad", "newTag": scad.__version__}]
