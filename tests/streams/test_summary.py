"""`scad summary` and `scad ecg`: what they print does not depend on the order of lines or on repeats."""

from __future__ import annotations

import base64
import io
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from devices.decode import decode_line
from devices.times import format_instant
from scad.main import build_app
from streams.files import REPORTED_LINES_MAX, LineReader
from streams.spool import Spool
from streams.summary import Summary
from tests.streams import series, strips
from tests.streams.recordings import needs_recordings, path_of

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000
APP = build_app()


def line(kind: str, values: dict, seq: int, at_ms: int, **other: object) -> str:
    reading = {"v": 1, "patient": "p-1", "device": f"d-{kind}", "seq": seq, "kind": kind}
    reading |= {"measured_at": format_instant(at_ms, 60), "values": values}
    return json.dumps(reading | other)


def summarise(lines: list[str], spool_bytes: int = 1 << 20) -> list[dict]:
    with Summary(Spool(spool_bytes), Spool(spool_bytes)) as summary:
        for text in lines:
            summary.add(decode_line(text.encode()))
        return [json.loads(row) for row in summary.lines()]


def everything() -> list[str]:
    """A fortnight of every kind that has statistics."""
    rng = np.random.default_rng(1)
    lines = []
    for i in range(300):
        lines.append(line("glucose", {"glucose": round(130 + 80 * np.sin(i / 9), 1)}, i, START + i * 300_000))
    for i in range(28):
        at = START + i * 12 * HOUR + 7 * HOUR
        lines.append(line("blood-pressure", {"systolic": 130 + i % 7, "diastolic": 80 + i % 5}, i, at))
        lines.append(line("body-weight", {"weight": 80 + 0.1 * (i % 9)}, i, at))
        lines.append(line("oxygen-saturation", {"spo2": 94 + i % 4}, i, at))
        lines.append(line("heart-rate", {"heart_rate": 60 + i % 9}, i, at))
        lines.append(line("temperature", {"temperature": 36.5 + 0.1 * (i % 4)}, i, at))
    for i in range(4):
        lines.append(line("inr", {"inr": 2.0 + 0.5 * i}, i, START + i * 14 * 24 * HOUR))
    at = START
    for i, beats in enumerate((400, 380, 60, 300)):
        rr = (series.fibrillation if i == 1 else series.sinus)(beats, rng).round(1)
        lines.append(line("rr-intervals", {"rr": rr.tolist()}, i, int(at)))
        at += rr.sum() + (60_000 if i == 2 else 0)
    return lines


EVERYTHING = everything()
EXPECTED = summarise(EVERYTHING)


@given(
    order=st.randoms(use_true_random=False),
    repeats=st.integers(0, 200),
    spool_bytes=st.sampled_from([0, 999, 1 << 20]),
)
@settings(max_examples=15, deadline=None)
def test_order_repeats_and_spilling_do_not_matter(order: random.Random, repeats, spool_bytes):
    lines = EVERYTHING + [order.choice(EVERYTHING) for _ in range(repeats)]
    order.shuffle(lines)
    assert summarise(lines, spool_bytes) == EXPECTED


def test_a_line_has_the_fields_of_the_contract():
    by_kind = {row["kind"]: row for row in EXPECTED}
    assert [row["kind"] for row in EXPECTED] == sorted(by_kind)
    assert list(by_kind["glucose"]) == ["patient", "kind", "n", "from", "to", "statistics", "episodes"]
    assert list(by_kind["glucose"]["statistics"]) == (
        [
            "mean",
            "sd",
            "cv",
            "gmi",
            "tir",
            "tbr_70",
            "tbr_54",
            "tar_180",
            "tar_250",
            "lbgi",
            "hbgi",
            "gri",
            "mage",
        ]
    )
    assert list(by_kind["glucose"]["episodes"]) == ["low", "very_low", "high", "very_high"]
    assert list(by_kind["blood-pressure"]["statistics"]) == (
        [
            "mean_systolic",
            "mean_diastolic",
            "max_systolic",
            "max_diastolic",
            "sd_systolic",
            "cv_systolic",
            "arv_systolic",
            "morning_mean_systolic",
            "evening_mean_systolic",
        ]
    )
    assert list(by_kind["rr-intervals"]["statistics"]) == (
        ["mean_rr", "mean_heart_rate", "sdnn", "rmssd", "pnn50", "af_fraction"]
    )
    assert list(by_kind["body-weight"]["statistics"]) == (
        ["first", "last", "min", "max", "max_gain_1d", "max_gain_3d", "max_gain_7d"]
    )
    assert list(by_kind["inr"]["statistics"]) == ["ttr"]
    for kind in ("oxygen-saturation", "heart-rate", "temperature"):
        assert list(by_kind[kind]["statistics"]) == ["mean", "min", "max"]
        assert by_kind[kind]["episodes"] == {}
    assert by_kind["glucose"]["from"] == "2026-01-01T01:00:00.000+01:00"
    assert by_kind["glucose"]["n"] == 300
    assert by_kind["rr-intervals"]["statistics"]["af_fraction"] == pytest.approx(0.29, abs=0.05)


def test_the_same_identity_with_other_content_is_another_reading():
    one, other = (line("inr", {"inr": inr}, 1, START) for inr in (2.0, 3.0))
    assert [row["n"] for row in summarise([one, other, one])] == [2]


def test_what_failed_an_artefact_gate_does_not_count():
    good = line("blood-pressure", {"systolic": 120, "diastolic": 80}, 1, START)
    bad = line("blood-pressure", {"systolic": 120, "diastolic": 125}, 2, START + HOUR)
    (row,) = summarise([good, bad])
    assert row["n"] == 1
    assert row["to"] == row["from"]
    assert summarise([bad]) == []


def test_morning_and_evening_are_the_patients_own():
    at = START + 6 * HOUR  # 07:00 in the readings' +01:00
    rows = [line("blood-pressure", {"systolic": 140, "diastolic": 80}, 1, at)]
    rows.append(line("blood-pressure", {"systolic": 120, "diastolic": 80}, 2, at + 13 * HOUR))
    statistics = summarise(rows)[0]["statistics"]
    assert (statistics["morning_mean_systolic"], statistics["evening_mean_systolic"]) == (140.0, 120.0)


def test_intervals_that_cannot_be_are_masked():
    rr = [800.0] * 50 + [20.0, 30_000.0] + [800.0] * 50
    statistics = summarise([line("rr-intervals", {"rr": rr}, 1, START)])[0]["statistics"]
    assert statistics["mean_rr"] == 800.0
    assert statistics["rmssd"] == 0.0
    assert statistics["af_fraction"] == 0.0


def run(*arguments: str, stdin: str | bytes | None = None):
    return CliRunner().invoke(APP, list(arguments), input=stdin)


def test_bad_lines_are_named_and_the_exit_status_is_1(tmp_path):
    file = tmp_path / "readings.jsonl"
    good = line("inr", {"inr": 2.5}, 1, START)
    file.write_text("\n".join([good, "no json", "", line("inr", {"inr": 99}, 2, START), good]) + "\n")
    result = run("summary", str(file))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["n"] == 1
    assert "line 2: " in result.stderr
    assert "line 4: " in result.stderr
    assert "2 of 4 lines were refused" in result.stderr


def test_standard_input_is_a_dash_and_an_empty_file_is_read(tmp_path):
    result = run("summary", "-", stdin=line("inr", {"inr": 2.5}, 1, START))
    assert (result.exit_code, json.loads(result.stdout)["kind"]) == (0, "inr")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert (run("summary", str(empty)).exit_code, run("ecg", str(empty)).stdout) == (0, "")


@pytest.mark.parametrize("command", ["summary", "ecg"])
def test_wrong_usage_is_exit_status_2(command):
    assert run(command).exit_code == 2
    result = run(command, "nowhere.jsonl")
    assert result.exit_code == 2
    assert "nowhere.jsonl" in result.stderr


def test_a_million_bad_lines_are_counted_and_a_hundred_printed(tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text("?\n" * 1000)
    err = io.StringIO()
    with LineReader(str(file), err) as lines:
        assert list(lines) == []
    assert (lines.refused, lines.lines, lines.exit_status) == (1000, 1000, 1)
    assert len(err.getvalue().splitlines()) == REPORTED_LINES_MAX + 2


def test_a_line_without_end_is_refused_in_bounded_memory(tmp_path):
    file = tmp_path / "long.jsonl"
    file.write_bytes(b"[" * (9 << 20) + b"\n" + line("inr", {"inr": 2.5}, 1, START).encode())
    err = io.StringIO()
    with LineReader(str(file), err) as lines:
        assert [reading.kind for reading in lines] == ["inr"]
    assert "line 1: longer than" in err.getvalue()


def test_a_progress_bar_is_shown_when_asked_for_and_lines_are_reported_through_it(tmp_path):
    file = tmp_path / "readings.jsonl"
    file.write_text((line("inr", {"inr": 2.5}, 1, START) + "\n") * 3000 + "bad\n")
    err = io.StringIO()
    with LineReader(str(file), err, progress=True) as lines:
        assert sum(1 for _ in lines) == 3000
    assert "line 3001: " in err.getvalue()


def ecg_line(seq: int, samples: np.ndarray, **other: object) -> str:
    packed = base64.b64encode((samples * 200).round().astype("<i2").tobytes()).decode()
    return line("ecg", {"fs": 360, "samples_i16": packed, "gain": 200}, seq, START + seq * 30_000, **other)


def test_ecg_prints_a_line_for_each_strip_once_in_the_order_of_the_file(tmp_path):
    samples, beats = strips.regular("normal")
    good = ecg_line(2, samples)
    faulty = ecg_line(1, samples, flags=["contact-lost"])
    flat = ecg_line(3, np.zeros(3600))
    file = tmp_path / "strips.jsonl"
    file.write_text("\n".join([good, faulty, line("inr", {"inr": 2.5}, 1, START), good, flat]))
    result = run("ecg", str(file))
    assert result.exit_code == 0
    rows = [json.loads(row) for row in result.stdout.splitlines()]
    assert [row["seq"] for row in rows] == [2, 1, 3]
    first = rows[0]
    assert list(first) == [
        "patient",
        "device",
        "seq",
        "measured_at",
        "fs",
        "beats",
        "heart_rate",
        "quality",
        "rhythm",
    ]
    assert first["measured_at"] == "2026-01-01T01:01:00.000+01:00"
    assert len(first["beats"]) == beats.size
    assert first["heart_rate"] == pytest.approx(75, abs=2)
    assert first["rhythm"] == "regular"
    assert (rows[1]["rhythm"], rows[1]["beats"]) == ("unreadable", first["beats"])
    assert (rows[2]["rhythm"], rows[2]["beats"], rows[2]["heart_rate"], rows[2]["quality"]) == (
        "unreadable", [], None, 0.0,
    )  # fmt: skip


@needs_recordings
def test_the_recorded_sensors_line_agrees_with_the_reference():
    result = run("summary", str(path_of("cgm_subject1")))
    (row,) = [json.loads(text) for text in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert row["n"] == 2915
    assert row["statistics"]["gmi"] == pytest.approx(6.268, abs=1e-3)
    assert row["episodes"] == {"low": 1, "very_low": 0, "high": 16, "very_high": 2}


@needs_recordings
def test_the_recorded_scale_crosses_none_of_the_plain_rules():
    result = run("summary", str(path_of("weight_fitbit_6962181067")))
    statistics = json.loads(result.stdout)["statistics"]
    assert statistics["max_gain_1d"] < 1.358
    assert statistics["max_gain_3d"] < 1.998
    assert statistics["max_gain_7d"] < 2.266
