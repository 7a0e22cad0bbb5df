"""A base backup and the log after it become a data folder that PostgreSQL recovers from when it is started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scad.backups.folder import Backup, BackupError, Folder, position, program, run, segment_parts

OURS = re.compile(r"^\s*(restore_command|recovery_target\w*)\s*=", re.IGNORECASE)
COMMIT = re.compile(r"desc: COMMIT (?:PREPARED )?.*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")


@dataclass(frozen=True)
class Restored:
    """What was put together. `last_commit`: of the last transaction in the log; None: none since the backup.
    `to`: the instant that recovery ends at, None: at the end of the log."""

    backup: Backup
    segments: int
    last_commit: datetime | None
    to: datetime | None


def restore(folder: Folder, data: Path, to: datetime | None = None) -> Restored:
    """Fill `data`, which must be empty or absent, with the state at `to` (None: the last transaction that was kept).

    The server is not started. Raises BackupError before anything is written, or with `data` removed again.
    """
    verify = program("pg_verifybackup")
    _empty(data)
    backup = choose(folder.backups(), to)
    source = folder.base / backup.name
    wanted = chain(list(folder.segments()), backup.first_wal)
    paths = [path for name, path in folder.segments().items() if name in wanted]
    run(
        [verify, "--exit-on-error", "--quiet", source],
        f"{source} is damaged: move it away, an older one is used",
    )
    if (source / "tablespace_map").exists() and (source / "tablespace_map").read_text().strip():
        raise BackupError("the backup has tablespaces outside of its data folder: restore it by hand")
    _room(data, backup.bytes + sum(path.stat().st_size for path in paths))
    last = last_commit(paths)
    target = to if to is not None and last is not None and to < last else None
    existed = data.exists()
    try:
        shutil.copytree(source, data, symlinks=True, dirs_exist_ok=True)
        for path in (*paths, *folder.histories()):
            shutil.copyfile(path, data / "pg_wal" / path.name.removesuffix(".partial"))
        _settings(data, target)
        _owner(data)
    except BaseException:
        for entry in list(data.iterdir()) if existed else []:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not existed:
            shutil.rmtree(data, ignore_errors=True)
        raise
    return Restored(backup, len(paths), last, target)


def choose(backups: list[Backup], to: datetime | None) -> Backup:
    """The newest base backup that was finished by `to`. Raises BackupError that names the earliest instant."""
    if not backups:
        raise BackupError("there is no base backup here: `scad backup take` makes one")
    if to is None:
        return backups[-1]
    fitting = [backup for backup in backups if backup.ended_at <= to]
    if not fitting:
        raise BackupError(
            f"the oldest base backup ended at {backups[0].ended_at:%Y-%m-%dT%H:%M:%SZ}: nothing before it comes back"
        )
    return fitting[-1]


def chain(segments: list[str], first: str) -> set[str]:
    """The segments from `first` on, of every timeline. Raises BackupError where one is missing in between: recovery
    would end there without a word."""
    following = [name for name in segments if position(name) >= position(first)]
    places = sorted({position(name) for name in following})
    start = position(first)
    for index, place in enumerate(places):
        if place != start + index:
            missing = start + index
            timeline = segment_parts(following[0])[0]
            raise BackupError(
                f"the log has a hole at segment {missing:X} (timeline {timeline}): choose an instant before "
                f"{places[index]:X} was written, or restore a later base backup"
            )
    return set(following)


def last_commit(paths: list[Path]) -> datetime | None:
    """When the last transaction in these segments was committed, by the server's clock."""
    reader = program("pg_waldump")
    for path in reversed(paths):
        whole = path.with_name(path.name.removesuffix(".partial"))
        words = [reader, "--rmgr=Transaction", str(path)]
        if whole != path:  # the reader wants a segment's own name
            words[-1] = str(whole)
            os.link(path, whole)
        try:
            # it ends with an error where the log ends, which is what we want to reach
            said = subprocess.run(
                words, capture_output=True, text=True, env={**os.environ, "TZ": "UTC"}
            ).stdout
        finally:
            if whole != path:
                whole.unlink()
        if found := COMMIT.findall(said):
            return max(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found)
    return None


def _empty(data: Path) -> None:
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise BackupError(
            f"{data} is not empty: stop the server and move the folder away; it is not overwritten"
        )
    if not data.parent.is_dir():
        raise BackupError(f"{data.parent} does not exist: where is the server's data folder to be?")


def _room(data: Path, needed: int) -> None:
    free = shutil.disk_usage(data.parent).free
    if free < needed:
        raise BackupError(
            f"{data.parent} has {free >> 20} MB left, and {needed >> 20} MB are needed: make room"
        )


def _settings(data: Path, to: datetime | None) -> None:
    """What recovery is told. The log lies in pg_wal already: there is no archive to ask, which is no error."""
    automatic = data / "postgresql.auto.conf"
    kept = [line for line in automatic.read_text().splitlines() if not OURS.match(line)]
    kept.append("restore_command = 'false'")
    if to is not None:
        kept.append(f"recovery_target_time = '{to.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'")
        kept.append("recovery_target_action = 'promote'")
    automatic.write_text("\n".join(kept) + "\n")
    (data / "recovery.signal").touch(0o600)


def _owner(data: Path) -> None:
    """PostgreSQL wants its data folder closed to others. Root hands it to whom it belonged, or the one above it."""
    data.chmod(0o700)
    if os.geteuid() == 0:
        owner = data.stat() if data.stat().st_uid else data.parent.stat()
        for path in (data, *data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
