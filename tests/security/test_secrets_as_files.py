"""No process of the deployment is given a secret by its environment or on its command line."""

from __future__ import annotations

import re

import pytest
from deployed import SERVICES

SECRET = re.compile(r"PASSWORD|SECRET|_KEYS?\b|DATABASE(_URL)?$|MQTT_SHARE|TOKEN")
OURS = {
    name: service for name, service in SERVICES.items() if str(service.get("image", "")).startswith("scad")
}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_secret_in_the_environment_is_the_path_of_a_file(name: str) -> None:
    environment = SERVICES[name].get("environment") or {}
    for variable, value in environment.items():
        if SECRET.search(variable.removesuffix("_FILE").removesuffix("__FILE")):
            assert "/run/secrets/" in str(value), variable


def test_no_command_line_of_ours_reads_a_secret() -> None:
    assert {"bridge", "worker", "feed", "escalation"} <= set(OURS)
    for name, service in OURS.items():
        words = (
            f"{service.get('entrypoint', '')} {service.get('command', '')} {service.get('healthcheck', '')}"
        )
        assert "cat /run/secrets" not in words, name
