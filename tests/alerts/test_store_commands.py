from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from scad.main import build_app
from scad.services import Kafka

WARD = {
    "care_teams": [{"care_team": "caen", "name": "Caen"}],
    "patients": [
        {
            "patient": "p-1",
            "care_team": "caen",
            "devices": [{"device": "sc-1", "from": "2026-01-01T00:00:00Z"}],
            "care_plan": {"from": "2026-01-01T00:00:00Z", "protocols": ["heart-failure"]},
        }
    ],
}


def scad(*words: str, **env: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), list(words), env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_schema_is_created_shown_and_tidied(database: str):
    status, out, _ = scad("schema", "status", SCAD_DATABASE=database)
    assert status == 1
    assert "pending" in out
    assert scad("schema", "apply", SCAD_DATABASE=database)[1].startswith("applied 0001_people.sql")
    status, out, _ = scad("schema", "apply", SCAD_DATABASE=database)
    assert (status, len(out.splitlines())) == (0, 1)
    shown = json.loads(scad("schema", "status", "--json", SCAD_DATABASE=database)[1])
    assert shown["pending"] == []
    assert scad("schema", "retain", SCAD_DATABASE=database)[1].startswith("deleted: 0 ")
    status, _, error = scad("schema", "retain", "--keep", "3 days", SCAD_DATABASE=database)
    assert status == 1
    assert "cannot be kept for less than 36 days" in error


@pytest.mark.parametrize(
    ("words", "address", "said"),
    [
        (["trace", "sc-1", "1"], None, "run `scad schema apply`"),
        (["quarantine", "list"], "postgresql://127.0.0.1:1/scad", "cannot be used (SCAD_DATABASE)"),
    ],
)
def test_an_unusable_database_is_one_line_that_says_what_to_do(
    database: str, words: list[str], address: str | None, said: str
):
    status, out, error = scad(*words, SCAD_DATABASE=address or database)
    assert (status, out) == (1, "")
    assert said in error


@pytest.mark.slow
def test_enrolment_reaches_database_and_kafka_also_after_a_crash_between_them(
    store_address: str, fresh_kafka: Kafka, tmp_path: Path
):
    path = tmp_path / "ward.json"
    path.write_text(json.dumps(WARD))
    env = {
        "SCAD_DATABASE": store_address,
        "SCAD_KAFKA": fresh_kafka.bootstrap,
        "SCAD_PARTITIONS": "2",
    }
    status, out, _ = scad("enrol", str(path), **env)
    assert status == 0
    assert "sent to Kafka: 2" in out
    status, out, _ = scad("enrol", str(path), **env)
    assert "new or moved: 0, identities: 0, devices: 0, care plans: 0" in out
    assert "sent" not in out
    with psycopg.connect(store_address, autocommit=True) as conn:  # as a crash before the sending leaves it
        conn.execute(
            "insert into scad.outbox (topic, key, value, queued_at) values ('scad.assignments', 'x', '{}', now())"
        )
    assert "sent to Kafka: 1" in scad("enrol", str(path), **env)[1]
    assert "sent to Kafka: 2" in scad("enrol", "--republish", **env)[1]


def test_a_refused_file_is_reported_and_nothing_is_written(store_address: str, tmp_path: Path):
    path = tmp_path / "ward.toml"
    path.write_text('[[patients]]\npatient = "p-1"\n')
    status, _, error = scad("enrol", str(path), SCAD_DATABASE=store_address)
    assert status == 1
    assert error.startswith(f"{path}: patients[0]: Object missing required field `care_team`")
    assert scad("enrol", str(tmp_path / "none.json"))[2].startswith(f"{tmp_path / 'none.json'}: No such file")


def test_a_file_can_be_checked_without_a_database(tmp_path: Path):
    path = tmp_path / "ward.json"
    path.write_text(json.dumps(WARD))
    status, out, _ = scad("enrol", "--check", str(path), SCAD_DATABASE="postgresql://nowhere")
    assert (status, out) == (0, "1 patients, no fault found\n")
