"""`scad housekeeping`: what has to be done once a day, each part whatever became of the others."""

from __future__ import annotations

import base64
import configparser
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import scad
from alerts.audit import record
from alerts.audit import store as trail
from alerts.audit.entry import entry
from alerts.identity.vault import vault_of
from alerts.store.connection import Connection
from devices.times import format_instant, parse_instant
from scad.housekeeping import keep_house
from scad.main import build_app

ROOT = Path(scad.__file__).resolve().parents[1]
UNITS = sorted((ROOT / "deploy/systemd").iterdir())
NOW_MS = parse_instant("2026-11-22T03:30:00+01:00")[0]
MS_PER_DAY = 86_400_000
YEAR_MS = 366 * MS_PER_DAY
KEYS = "1 " + base64.b64encode(b"a key that everybody may know ok").decode()


def looks(conn: Connection, *instants_ms: int) -> None:
    for at_ms in instants_ms:
        record(conn, entry(at_ms, "b.durand", "patient-file", patients=("p-1",)))


def test_old_lines_go_and_what_is_left_is_vouched_for_and_verifies(store_address: str, store: Connection):
    looks(store, NOW_MS - YEAR_MS - MS_PER_DAY, NOW_MS - YEAR_MS, NOW_MS - MS_PER_DAY)
    vault = vault_of(KEYS)
    assert vault is not None
    first = keep_house(store, vault.keys, NOW_MS)
    assert [(done.part, done.ok) for done in first] == [
        ("readings", True),
        ("trail", True),
        ("checkpoint", True),
    ]
    assert first[1].said == "deleted: 2 lines"
    assert re.fullmatch(r"4:[0-9a-f]{64}", first[2].said), (
        "the line that stays, and the one that says what went"
    )
    again = keep_house(store, vault.keys, NOW_MS)
    assert [done.ok for done in again] == [True] * 3
    assert (again[1].said, again[2].said) == ("deleted: 0 lines", first[2].said)
    report = trail.verify_database(store, vault.keys)
    assert (report.faults, report.lines) == ([], 2)


def test_a_trail_with_a_fault_is_kept_whole_and_the_rest_is_done(
    store_address: str, store: Connection, monkeypatch: pytest.MonkeyPatch
):
    looks(store, NOW_MS - YEAR_MS - MS_PER_DAY, NOW_MS - YEAR_MS, NOW_MS)
    with store.transaction():
        store.execute("alter table audit.entry disable trigger user")
        store.execute("update audit.entry set line = replace(line, 'durand', 'martin') where n = 1")
        store.execute("alter table audit.entry enable trigger user")
    for name, value in (
        ("SCAD_DATABASE", store_address),
        ("SCAD_IDENTITY_KEYS", KEYS),
        ("SCAD_CLOCK", f"{format_instant(NOW_MS)}@{format_instant(NOW_MS)}x1.0"),
    ):
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(build_app(), ["housekeeping"])
    assert done.exit_code == 1
    assert "trail: the trail has a fault" in done.output
    assert "readings: deleted: 0" in done.output
    assert re.search(r"checkpoint: 3:[0-9a-f]{64}", done.output)
    assert store.execute("select count(*) from audit.entry").fetchone() == (3,)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_of_systemd_starts_a_command_that_exists_and_a_timer_a_unit(path: Path):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(path.read_text())
    assert unit["Unit"]["Description"].startswith("SCAD")
    if path.suffix == ".timer":
        assert path.with_suffix(".service") in UNITS
        assert re.fullmatch(r"hourly|\*-\*-\* \d\d:\d\d:\d\d", unit["Timer"]["OnCalendar"])
        assert unit["Timer"]["Persistent"] == "true"
        assert unit["Install"]["WantedBy"] == "timers.target"
        return
    program, *words = unit["Service"]["ExecStart"].replace("%i", "bridge").split()
    assert program == "/opt/scad/bin/scad"
    command = typer.main.get_command(build_app())
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert unit["Service"]["User"] in ("scad", "postgres")
    assert unit["Service"]["EnvironmentFile"].startswith("/etc/scad/")
    timed = path.with_suffix(".timer") in UNITS
    assert unit["Service"].get("Type") == ("oneshot" if timed else None)
    assert unit["Service"].get("Restart") == (None if timed else "always")
