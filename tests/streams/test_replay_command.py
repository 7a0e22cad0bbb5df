"""`scad replay`: the engine over a file, its exit status, and what other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from devices.readings import to_wire
from scad.main import build_app
from streams.signal import StandingEpisode, decode_signal, encode_signal, fold
from tests.streams.timeline import Patient

HF = "heart-failure"
APP = build_app()


def scad_replay(*arguments: str | Path, given: bytes | None = None) -> Result:
    return CliRunner().invoke(APP, ["replay", *map(str, arguments)], input=given)


def fortnight() -> list[bytes]:
    """Two weeks of weights and symptoms that rise and fall, three readings of them late, one twice."""
    patient = Patient(HF)
    weights = [80.0, 80.4, 81.1, 82.1, 82.6, 81.4, 80.2, 80.0, 80.3, 82.4, 82.5, 80.1, 79.9, 80.0]
    for day, kg in enumerate(weights, 1):
        patient.at(f"2026-03-{day:02d} 07:00").weight(kg, *(["device-fault"] if day == 8 else []))
        patient.at(f"2026-03-{day:02d} 08:00").answers(night_dyspnoea=day in (4, 5, 6), dyspnoea=day % 3)
    patient.at("2026-03-03 20:00", received="2026-03-14 09:00").weight(79.8)
    patient.at("2026-03-09 20:00", received="2026-03-14 09:01").weight(80.6)
    patient.at("2026-03-06 20:00", received="2026-03-14 09:02").answers(chest_pain=True)
    return [to_wire(reading) for reading in (*patient.readings, patient.readings[6])]


@pytest.fixture
def readings(tmp_path: Path) -> Path:
    path = tmp_path / "readings.jsonl"
    path.write_bytes(b"\n".join(fortnight()) + b"\n")
    return path


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def folded(result: Result) -> list[dict[str, Any]]:
    standing: dict[str, StandingEpisode] = {}
    for line in result.stdout_bytes.splitlines():
        fold(standing, decode_signal(line))
    found = [json.loads(encode_signal(e)) for e in standing.values()]
    return sorted(found, key=lambda e: str(e["alert"]))


def test_signals_are_json_lines_with_the_contracts_fields(readings: Path) -> None:
    result = scad_replay(readings, "--protocol", HF)
    assert result.exit_code == 0
    signals = lines(result)
    assert {"raised", "updated", "cleared"} <= {s["state"] for s in signals}
    for signal in signals:
        assert {"v", "alert", "patient", "protocol", "protocol_version", "rule", "class", "severity", "state",
                "at", "value", "limit", "late", "evidence", "explanation"} <= set(signal)  # fmt: skip
        assert set(signal["explanation"]) == {"fr", "en"}
    assert [s["n"] for s in signals] == list(range(1, len(signals) + 1))


def test_standing_has_exactly_the_contracts_fields_sorted_by_patient_start_protocol_and_rule(
    readings: Path,
) -> None:
    result = scad_replay(readings, "--protocol", HF, "--standing")
    episodes = lines(result)
    fields = ["alert", "patient", "protocol", "rule", "class", "severity", "start", "last", "end"]
    assert [list(e) for e in episodes] == [fields] * len(episodes)
    keys = [(e["patient"], e["start"], e["protocol"], e["rule"]) for e in episodes]
    assert keys == sorted(keys)
    assert len(episodes) >= 4


def test_up_to_any_line_the_signals_fold_to_what_stands(tmp_path: Path) -> None:
    written = fortnight()
    before: list[dict[str, Any]] = []
    for count in range(1, len(written) + 1):
        part = tmp_path / f"{count}.jsonl"
        part.write_bytes(b"\n".join(written[:count]) + b"\n")
        said = scad_replay(part, "--protocol", HF)
        stands = lines(scad_replay(part, "--protocol", HF, "--standing"))
        assert folded(said) == sorted(stands, key=lambda e: str(e["alert"]))
        assert lines(said)[: len(before)] == before
        before = lines(said)


def test_the_order_of_the_lines_changes_nothing_that_stands(readings: Path, tmp_path: Path) -> None:
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_bytes(b"\n".join(fortnight()[::-1]))
    assert (
        scad_replay(backwards, "--protocol", HF, "--standing").stdout
        == scad_replay(readings, "--protocol", HF, "--standing").stdout
    )


def test_standard_input_is_a_file_too(readings: Path) -> None:
    given = readings.read_bytes()
    assert (
        scad_replay("-", "--protocol", HF, given=given).stdout
        == scad_replay(readings, "--protocol", HF).stdout
    )


def test_bad_lines_are_named_counted_and_do_not_stop_the_rest(readings: Path) -> None:
    broken = [b"{", *fortnight(), b'{"v":1,"device":"x"}']
    readings.write_bytes(b"\n".join(broken))
    result = scad_replay(readings, "--protocol", HF)
    assert result.exit_code == 1
    assert "line 1:" in result.stderr
    assert f"line {len(broken)}:" in result.stderr
    assert f"2 of {len(broken)} lines were refused" in result.stderr
    assert len(lines(result)) > 5


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_bytes(b"\n\n")
    result = scad_replay(tmp_path / "none.jsonl", "--protocol", HF)
    assert (result.exit_code, result.stdout) == (0, "")


def test_several_protocols_and_patients_are_kept_apart(tmp_path: Path) -> None:
    written = fortnight()
    both = [*written, *(line.replace(b"p-0001", b"p-0000") for line in written)]
    path = tmp_path / "two.jsonl"
    path.write_bytes(b"\n".join(both))
    episodes = lines(scad_replay(path, "--protocol", HF, "--protocol", "hypertension", "--standing"))
    half = len(episodes) // 2
    assert [e["patient"] for e in episodes] == ["p-0000"] * half + ["p-0001"] * half
    assert len({e["alert"] for e in episodes}) == len(episodes)


def test_until_leaves_later_lines_out(readings: Path) -> None:
    result = scad_replay(readings, "--protocol", HF, "--standing", "--until", "2026-03-04T12:00:00+01:00")
    assert {e["rule"] for e in lines(result)} == {"weight-gain-3d"}
    assert lines(result)[0]["end"] is None


def test_until_lets_the_clock_run_on_for_no_reading(readings: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans.json"
    plans.write_text(json.dumps(care_plan()))
    arguments = (readings, "--protocol", HF, "--care-plans", plans, "--standing")
    assert "no-reading" not in {e["rule"] for e in lines(scad_replay(*arguments))}
    late = lines(scad_replay(*arguments, "--until", "2026-03-20T12:00:00+01:00"))
    silence = next(e for e in late if e["rule"] == "no-reading")
    assert silence["start"] == "2026-03-16T19:00:00.000+01:00"


def care_plan(patient: str = "p-0001") -> dict[str, Any]:
    plan_version = {"version": 1, "from": "2026-03-01T00:00:00+01:00", "protocols": [HF],
                    "schedule": {"body-weight": {"every_hours": 24}}, "dry_weight_kg": 80.0}  # fmt: skip
    return {"patient": patient, "versions": [plan_version]}


def enrolment() -> dict[str, Any]:
    plan_version = care_plan()["versions"][0]
    return {
        "care_teams": [{"care_team": "caen", "name": "Caen", "time_zone": "Europe/Paris"}],
        "patients": [{"patient": "p-0001", "care_team": "caen", "care_plan": plan_version}],
    }


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(care_plan(), indent=1),
        json.dumps([care_plan(), care_plan("p-0002")]),
        json.dumps(care_plan()) + "\n" + json.dumps(care_plan("p-0002")) + "\n",
        json.dumps(enrolment()),
    ],
    ids=["one plan", "an array", "one a line", "an enrolment"],
)
def test_care_plans_are_read_in_each_of_their_forms(text: str, readings: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans.json"
    plans.write_text(text)
    result = scad_replay(readings, "--protocol", HF, "--care-plans", plans, "--standing")
    assert result.exit_code == 0
    assert "dry-weight" in {e["rule"] for e in lines(result)}


def test_a_protocol_of_ones_own_is_a_file(readings: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        'name = "mine"\nversion = "1"\n[title]\nfr = "Mien"\nen = "Mine"\n'
        '[rules.heavy]\nclass = "clinical"\nstatistic = "value"\nkind = "body-weight"\nsource = "a test"\n'
        'fr = "Poids {value} kg."\nen = "Weight {value} kg."\n'
        '[[rules.heavy.levels]]\nseverity = "low"\nabove = 82.5\nclear = 82.0\n'
    )
    episodes = lines(scad_replay(readings, "--protocol", own, "--standing"))
    assert [(e["protocol"], e["rule"], e["start"][:10]) for e in episodes] == [
        ("mine", "heavy", "2026-03-05")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["READINGS"], "protocol"),
        (["READINGS", "--protocol", "gout"], "heart-failure"),
        (["READINGS", "--protocol", "BROKEN"], "broken.toml"),
        (["none.jsonl", "--protocol", HF], "none.jsonl"),
        (["READINGS", "--protocol", HF, "--until", "tomorrow"], "tomorrow"),
        (["READINGS", "--protocol", HF, "--care-plans", "none.json"], "none.json"),
        (["READINGS", "--protocol", HF, "--care-plans", "BROKEN"], "broken.toml"),
        (["READINGS", "--protocol", HF, "--no-such-option"], "no-such-option"),
    ],
)
def test_wrong_usage_ends_with_two_and_says_what_is_wrong(
    arguments: list[str], said: str, readings: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    places = {"READINGS": str(readings), "BROKEN": str(broken)}
    result = scad_replay(*(places.get(a, a) for a in arguments))
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "content",
    [b"5", b"{}", b'{"patients":[5]}', b'{"patients":[{"patient":5,"care_plan":{"from":"x"}}]}', b"\xff\xfe"],
)
def test_a_file_of_care_plans_that_is_none_ends_with_two(
    content: bytes, readings: Path, tmp_path: Path
) -> None:
    plans = tmp_path / "plans.json"
    plans.write_bytes(content)
    result = scad_replay(readings, "--protocol", HF, "--care-plans", plans)
    assert result.exit_code == 2
    assert "plans.json" in result.stderr


def test_a_protocol_file_that_is_no_text_ends_with_two(readings: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_bytes(b"name = \xff\xfe")
    result = scad_replay(readings, "--protocol", own)
    assert result.exit_code == 2
    assert "mine.toml" in result.stderr


def test_readings_beyond_their_horizon_are_counted_on_standard_error(tmp_path: Path) -> None:
    patient = Patient(HF).at("2026-03-01 07:00", received="2026-04-20 07:00").weight(80.0)
    path = tmp_path / "late.jsonl"
    path.write_bytes(to_wire(patient.readings[0]))
    result = scad_replay(path, "--protocol", HF)
    assert result.exit_code == 0
    assert "1 readings arrived beyond their horizon" in result.stderr
