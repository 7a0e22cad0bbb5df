"""A base backup: taken, verified, named; old ones go."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from devices.times import to_datetime
from scad.backups.folder import Backup, BackupError, Folder, environment, identify, program, run
from scad.clock import Clock

ROOM = 1.2  # a backup may be this much larger than the one before


def take(folder: Folder, address: str, clock: Clock, keep: int) -> Backup:
    """Copy the server that `address` names, check every file of the copy, and delete all but the newest `keep`.

    Waits while another is being taken. Raises BackupError; what was begun is removed, what was there stays.
    """
    program("pg_basebackup")
    folder.make()
    system, _, version = identify(address)
    folder.belongs_to(system)
    with folder.alone():
        _room(folder)
        return _take(folder, address, clock, keep, version)


def _take(folder: Folder, address: str, clock: Clock, keep: int, version: str) -> Backup:
    copy, verify = program("pg_basebackup"), program("pg_verifybackup")
    name = f"{to_datetime(clock.wall()):%Y%m%dT%H%M%S.%fZ}"
    target = folder.base / f".{name}"
    try:
        options = ["--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256", "--no-password"]
        run(
            [copy, "--pgdata", target, f"--label=scad {name}", *options],
            "nothing was kept; the backups before it are as they were",
            environment(address),
        )
        run([verify, "--exit-on-error", "--quiet", target], "the copy was removed: is the disk sound?")
        backup = Backup(
            name=name,
            ended_at=to_datetime(clock.wall()),
            first_wal=_first_wal(target),
            bytes=sum(path.stat().st_size for path in target.rglob("*") if path.is_file()),
            server=version,
        )
        target.rename(folder.base / name)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    folder.note(backup)
    folder.prune(keep)
    return backup


def gaps(folder: Folder, backup: Backup) -> str:
    """Why nothing after this backup could be restored; empty when the log is being kept."""
    segments = folder.segments()
    if not segments:
        return "no write-ahead log is kept: run `scad backup follow`, or only the instants of base backups come back"
    if backup.first_wal not in segments:
        return (
            f"the log in {folder.wal} does not reach back to {backup.first_wal}, where this backup begins: was "
            "`scad backup follow` away? Take another once it runs"
        )
    return ""


def _room(folder: Folder) -> None:
    known = folder.backups()
    free = shutil.disk_usage(folder.path).free
    if known and free < known[-1].bytes * ROOM:
        raise BackupError(
            f"{folder.path} has {free >> 20} MB left and the last backup took {known[-1].bytes >> 20} MB: make room, "
            "or keep fewer (--keep)"
        )


def _first_wal(data: Path) -> str:
    label = (data / "backup_label").read_text()
    found = re.search(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", label, re.MULTILINE)
    if found is None:
        raise BackupError(f"the copy has no beginning in its backup_label:\n{label}")
    return found[1]
