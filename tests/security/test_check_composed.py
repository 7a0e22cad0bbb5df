"""`docker compose run --rm scad check`: the very environment of that service, against the locked services."""

from __future__ import annotations

import json

from stronghold import Stronghold


def test_the_check_of_the_deployment_logs_in_everywhere(stronghold: Stronghold) -> None:
    done = stronghold.scad("scad", "check", "--json")
    found = json.loads(done.stdout)
    parts = {each["part"] for each in found if each["state"] == "ok"}
    assert {"settings", "mqtt", "kafka", "database", "certificates"} <= parts, done.stdout
    # who is at work depends on what ran before; every other fault would be the deployment's own
    faults = [each["what"] for each in found if each["state"] == "fault" and each["part"] in parts]
    assert [what for what in faults if "none is " not in what and "none has " not in what] == [], done.stdout
    assert any(each["what"].endswith("as 'bridge': logged in") for each in found)
