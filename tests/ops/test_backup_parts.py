"""What `scad restore` decides before it touches anything."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from scad.backups import Backup, BackupError, Folder, restore, wal
from scad.backups.folder import SEGMENTS_A_LOG, environment, identify, position
from scad.backups.restoring import COMMIT, OURS, chain, choose
from scad.backups.telling import BackupFigures
from scad.checks.run import check_backups
from scad.clock import Clock
from scad.main import build_app

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number // SEGMENTS_A_LOG:08X}{number % SEGMENTS_A_LOG:08X}"


def backup(hours: int, first: int = 0) -> Backup:
    ended = NOON + timedelta(hours=hours)
    return Backup(name=f"b{hours}", ended_at=ended, first_wal=segment(first), bytes=1, server="17")


def test_the_newest_backup_before_the_instant_is_taken():
    known = [backup(0), backup(24), backup(48)]
    assert choose(known, None).name == "b48"
    assert choose(known, NOON + timedelta(hours=47)).name == "b24"
    with pytest.raises(BackupError, match="oldest base backup ended at 2026-11-22T12:00:00Z"):
        choose(known, NOON - timedelta(seconds=1))
    with pytest.raises(BackupError, match="backup take"):
        choose([], None)


@given(st.integers(0, 600), st.integers(1, 40), st.data())
def test_a_hole_in_the_log_is_named_and_no_hole_is_invented(first: int, length: int, data: st.DataObject):
    names = [segment(number) for number in range(first, first + length)]
    assert [position(name) for name in names] == list(range(first, first + length))
    fork = data.draw(st.integers(0, length - 1))
    second = [segment(number, 2) for number in range(first + fork, first + length + 3)]
    assert chain([*names, *second], names[0]) == {*names, *second}  # a restored server's log goes on beside
    if length > 2:
        lost = data.draw(st.integers(1, length - 2))
        with pytest.raises(BackupError, match=f"hole at segment {first + lost:X} "):
            chain(names[:lost] + names[lost + 1 :], names[0])


def test_old_backups_go_with_their_log_and_a_segment_that_is_being_written_stays(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.make()
    (folder.wal / "00000001").mkdir()
    for number in range(6):
        (folder.wal / "00000001" / (segment(number) + (".partial" if number == 1 else ""))).touch()
    for hours, first in ((0, 0), (24, 2), (48, 4)):
        (folder.base / f"b{hours}").mkdir()
        folder.note(backup(hours, first))
    assert folder.prune(2) == ["b0"]
    assert [one.name for one in folder.backups()] == ["b24", "b48"]
    assert list(folder.segments()) == [segment(number) for number in (1, 2, 3, 4, 5)]


def test_a_folder_belongs_to_one_server_and_a_data_folder_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = Folder(tmp_path / "backups")
    folder.make()
    folder.belongs_to("7000")
    folder.belongs_to("7000")
    with pytest.raises(BackupError, match="a folder of its own"):
        folder.belongs_to("7001")
    monkeypatch.setattr("scad.backups.restoring.program", lambda name: name)
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").touch()
    with pytest.raises(BackupError, match="is not empty"):
        restore(folder, data)
    assert list(data.iterdir()) == [data / "PG_VERSION"]
    done = CliRunner().invoke(build_app(), ["restore", str(tmp_path), str(data), "--to", "yesterday"])
    assert done.exit_code == 1


def test_a_password_is_given_to_programs_where_others_cannot_read_it():
    given = environment("postgresql://backup:secret@db.example.org:5433/scad?sslmode=verify-full")
    assert (given["PGHOST"], given["PGPORT"], given["PGPASSWORD"]) == ("db.example.org", "5433", "secret")
    assert given["PGSSLMODE"] == "verify-full"
    with pytest.raises(BackupError, match="SCAD_DATABASE"):
        environment("postgresql://[")


def test_settings_of_an_earlier_restore_and_times_of_commits_are_recognised():
    assert OURS.match("recovery_target_time = '2026-01-01'")
    assert OURS.match("restore_command = 'false'")
    assert not OURS.match("max_connections = 100")
    line = "rmgr: Transaction len: 34, tx: 750, lsn: 0/3000168, desc: COMMIT 2026-11-22 15:02:38.413800 UTC"
    assert COMMIT.findall(line) == ["2026-11-22 15:02:38.413800"]


def test_prometheus_is_told_how_old_the_newest_backup_and_the_log_are(tmp_path: Path):
    folder = Folder(tmp_path / "backups")

    def told() -> dict[str, float]:
        return {
            sample.name: sample.value
            for family in BackupFigures(folder).collect()
            for sample in family.samples
        }

    assert told() == {}, "a folder that is away has no age"
    folder.make()
    assert set(told()) == {"scad_backup_free_bytes"}
    (folder.base / "b0").mkdir()
    folder.note(backup(0))
    folder.note(backup(24))
    (folder.wal / "00000001").mkdir()
    (folder.wal / "00000001" / f"{segment(3)}.partial").touch()
    written = folder.last_written_at()
    assert written is not None
    found = told()
    assert found.pop("scad_backup_free_bytes") > 0
    assert found == {
        "scad_backup_last_timestamp_seconds": (NOON + timedelta(hours=24)).timestamp(),
        "scad_backup_last_bytes": 1,
        "scad_backup_log_timestamp_seconds": written.timestamp(),
    }


def refused(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these files and folders were another user's: root, as which tests may run, may read everything."""
    read, listed = Path.read_bytes, Path.iterdir

    def no(path: Path) -> None:
        if path.name in names:
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", lambda path: no(path) or read(path))
    monkeypatch.setattr(Path, "iterdir", lambda path: no(path) or listed(path))


def test_what_another_user_has_put_there_is_named_with_whose_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = Folder(tmp_path)
    folder.make()
    for hours in (0, 24, 48):
        (folder.base / f"b{hours}").mkdir()
        folder.note(backup(hours))
    (folder.wal / "00000001").mkdir()
    remedy = re.escape(f"chown -R {tmp_path.owner()}: {tmp_path}")
    with monkeypatch.context() as other:
        refused(other, "b24.json")
        with pytest.raises(BackupError, match=rf"b24\.json cannot be used \(Permission denied\).*{remedy}"):
            folder.backups()
        (found,) = check_backups(folder, Clock())
        assert (found.state, "b24.json" in found.what) == ("fault", True)
        said = CliRunner().invoke(build_app(), ["backup", "list", str(tmp_path)])
        assert (said.exit_code, remedy.replace("\\", "") in said.stderr) == (1, True)
        assert (
            dict.fromkeys(metric.name for metric in BackupFigures(folder).collect() if metric.samples) == {}
        )
    with monkeypatch.context() as other:
        refused(other, "b0")
        with pytest.raises(BackupError, match="b0 cannot be used"):
            folder.prune(2)
    assert [one.name for one in folder.backups()] == ["b0", "b24", "b48"], "nothing is forgotten half"
    with monkeypatch.context() as other:
        refused(other, "wal")
        with pytest.raises(BackupError, match="wal cannot be used"):
            folder.last_written_at()
    assert folder.prune(2) == ["b0"]


def test_the_group_sees_how_old_backups_are_and_not_what_is_in_them(tmp_path: Path):
    before = os.umask(0o077)  # as a shell of root's on the operation page
    try:
        folder = Folder(tmp_path / "backups")
        folder.make()
        folder.note(backup(0))
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (folder.path, folder.base, folder.wal)]
    assert modes == [0o750] * 3
    assert (folder.base / "b0.json").stat().st_mode & 0o777 == 0o640


def test_a_base_backup_that_fails_does_not_end_the_log_and_is_not_tried_without_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, stop, tries = Folder(tmp_path), threading.Event(), []
    folder.make()
    (folder.wal / "00000001").mkdir()
    (folder.wal / "00000001" / f"{segment(1)}.partial").touch()
    now = iter(range(0, 1_000_000_000, 20_000))

    def fails(*_: object) -> None:
        tries.append(1)
        if len(tries) == 3:
            stop.set()
        raise BackupError("another user's file")

    looks = 0

    def look(_: float) -> bool:
        nonlocal looks
        looks += 1
        return stop.is_set()

    monkeypatch.setattr(wal, "program", lambda name: name)
    monkeypatch.setattr(wal, "_begin", lambda *_: subprocess.Popen(["sleep", "60"]))
    monkeypatch.setattr(wal, "take", fails)
    monkeypatch.setattr(stop, "wait", look)
    wal.follow(folder, "", Clock(wall=lambda: next(now)), 24, 7, stop)
    assert len(tries) == 3
    assert looks > 4, "a minute of this clock, which goes on by 20 s at each look, lies between two"


def test_a_server_of_other_segments_and_a_backup_with_tablespaces_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Server:
        info = SimpleNamespace(parameter_status=lambda _: "17.2 (Debian)")

        def __init__(self, size: str) -> None:
            self.answers = {"IDENTIFY_SYSTEM": (b"7000", 1), "SHOW wal_segment_size": (size.encode(),)}

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def execute(self, query: str) -> SimpleNamespace:
            return SimpleNamespace(fetchone=lambda: self.answers[query])

    monkeypatch.setattr("psycopg.connect", lambda *_, **__: Server("64MB"))
    with pytest.raises(BackupError, match="wal_segment_size is 64MB; only 16MB"):
        identify("")
    monkeypatch.setattr("psycopg.connect", lambda *_, **__: Server("16MB"))
    assert identify("") == ("7000", 1, "17.2")

    folder = Folder(tmp_path / "backups")
    folder.make()
    (folder.base / "b0").mkdir()
    folder.note(backup(0))
    (folder.wal / "00000001").mkdir()
    (folder.wal / "00000001" / segment(0)).touch()
    monkeypatch.setattr("scad.backups.restoring.program", lambda name: name)
    monkeypatch.setattr("scad.backups.restoring.run", lambda *_: "")
    (folder.base / "b0" / "tablespace_map").write_text("16385 /mnt/fast\n")
    with pytest.raises(BackupError, match="tablespaces outside"):
        restore(folder, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_one_base_backup_is_taken_at_a_time(tmp_path: Path):
    """The first to end would delete the log before its own beginning, which the other still needs."""
    folder, entered = Folder(tmp_path), threading.Event()
    folder.make()

    def another() -> None:
        with Folder(tmp_path).alone():
            entered.set()

    thread = threading.Thread(target=another)
    with folder.alone():
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(20)
    thread.join()
    assert folder.backups() == []
