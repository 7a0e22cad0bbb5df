"""The way of a reading with every door locked, and what each process of the deployment listens on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from mqtt_line import Line
from secured import Broker, Devices
from stronghold import PROCESSES, Stronghold, listening

from devices.times import format_instant
from scad.services import HOST, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

PATH_SECONDS = 60.0
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def running(stronghold: Stronghold) -> Stronghold:
    stronghold.start_all()
    return stronghold


def test_a_reading_becomes_a_row_and_its_receipt_comes_back_through_locked_doors(
    running: Stronghold, broker: Broker, devices: Devices, tmp_path: Path
) -> None:
    now_ms = int(time.time() * 1000)
    file = tmp_path / "ward.json"
    file.write_text(json.dumps(enrolment("sc-1", now_ms)))
    enrolled = running.scad("synthetic", "enrol", file)  # as the log-in that may enrol and nothing else
    assert enrolled.returncode == 0, enrolled.stderr
    with Line(broker.tls_port, "sc-1", devices.passwords["sc-1"], devices.context(), stubborn=True) as line:
        line.subscribe("scad/v1/sc-1/receipts")
        for seq, weight in ((1, 80.0), (2, 83.0)):  # 3 kg in a day: an alert
            at = format_instant(now_ms - (3 - seq) * 20 * HOUR_MS)
            reading = {"v": 1, "device": "sc-1", "seq": seq, "kind": "body-weight", "measured_at": at}
            line.publish(
                "scad/v1/sc-1/readings", json.dumps(reading | {"values": {"weight": weight}}).encode()
            )
        wait_until(
            lambda: any(b'"through":2' in body for _, body in line.messages), PATH_SECONDS, "the receipt"
        )
    with running.connect("scad") as owner:

        def count(query: bytes) -> int:
            row = owner.execute(query).fetchone()
            return int(str(row[0])) if row else 0

        wait_until(
            lambda: count(b"select count(*) from scad.reading where device = 'sc-1'") == 2,
            PATH_SECONDS,
            "rows",
        )
        wait_until(
            lambda: count(b"select count(*) from scad.alert where rule = 'weight-gain-1d'") == 1,
            PATH_SECONDS,
            "the alert",
        )
    once = running.scad("escalation", "escalation", "--once")
    assert once.returncode == 0, once.stderr


def enrolment(device: str, now_ms: int) -> dict[str, object]:
    start = format_instant(now_ms - 240 * HOUR_MS)
    return {
        "care_teams": [{"care_team": "caen", "name": "Cardiologie", "time_zone": "Europe/Paris"}],
        "patients": [
            {
                "care_team": "caen",
                "identity": {
                    "family_name": "PATIENT",
                    "given_names": "Alix",
                    "birth_date": "1947-08-02",
                    "sex": "female",
                },
                "devices": [{"device": device, "from": start}],
                "care_plan": {
                    "from": start,
                    "author": "Dr Martin",
                    "time_zone": "Europe/Paris",
                    "protocols": ["heart-failure"],
                },
            }
        ],
    }


def test_no_process_listens_on_anything_but_its_one_port(running: Stronghold) -> None:
    for name in PROCESSES:
        pid = running.programs[name].pid
        assert pid is not None
        # neither Faust's own web server, which would show tables to anyone, nor any other
        assert listening(pid) == {(HOST, running.ports[name])}, name


def test_the_servers_listen_on_what_the_documentation_names(running: Stronghold, broker: Broker) -> None:
    pids = (broker.pid, running.database.pid, running.kafka.pid)
    mosquitto, database, kafka = ({port for _, port in listening(pid)} for pid in pids if pid is not None)
    assert mosquitto == {broker.tls_port, broker.certificate_port, broker.port}
    assert database == {running.database.port}
    assert kafka == set(running.kafka.ports[0])


def test_no_log_of_a_process_holds_a_password(running: Stronghold) -> None:
    drawn = [
        path.read_text().strip()
        for path in running.secrets.iterdir()
        if path.name.endswith(("password", "_secret", "_key")) and path.stat().st_size
    ]
    assert drawn
    for name in PROCESSES:
        text = running.programs[name].log_path.read_text()
        assert not [secret for secret in drawn if secret in text], name
