"""The write-ahead log, kept as it is written: what lies between two base backups, to the last transaction."""

from __future__ import annotations

import signal
import subprocess
import threading

import structlog

from scad.backups.folder import BackupError, Folder, environment, identify, make_folder, program, run
from scad.backups.taking import take
from scad.clock import Clock

log = structlog.get_logger()

SLOT = "scad_backup"
"""The server keeps what this slot has not fetched. Bound it: max_slot_wal_keep_size (docs/backup.md)."""
LOOK_SECONDS = 0.5  # a stop, and the end of the program, are noticed this late
RETRY_SECONDS = 5.0  # between two attempts on a server that is away
STOP_SECONDS = 10.0
FAILED_MS = 60_000
"""Before a base backup that failed is tried again: what is in the way (a full disk, another user's file) stays."""


def follow(
    folder: Folder, address: str, clock: Clock, every_hours: float, keep: int, stop: threading.Event
) -> None:
    """Keep the log until `stop`, and take a base backup every `every_hours` (0: never); waits for a server that
    is away. Raises BackupError for what waiting does not mend: another server's folder, a missing program."""
    receive = program("pg_receivewal")
    program("pg_basebackup")
    folder.make()
    child: subprocess.Popen[bytes] | None = None
    not_before_ms = 0
    try:
        while not stop.is_set():
            if child is None or child.poll() is not None:
                if child is not None:
                    log.warning("backup.interrupted", status=child.returncode)
                child = _begin(folder, address, receive)
                if child is None:
                    stop.wait(RETRY_SECONDS)
                    continue
            # The slot holds nothing before the log flows: an earlier base backup would lack its first segment.
            if every_hours and clock.wall() >= not_before_ms and any(folder.wal.glob("*/*.partial")):
                try:
                    _take_when_due(folder, address, clock, every_hours, keep)
                except BackupError as error:  # the log goes on being kept: it is worth more
                    log.error("backup.failed", error=str(error))
                    not_before_ms = clock.wall() + FAILED_MS
            stop.wait(LOOK_SECONDS)
    finally:
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _begin(folder: Folder, address: str, receive: str) -> subprocess.Popen[bytes] | None:
    """pg_receivewal, running; None when the server is away. A restored server has another timeline and no slot."""
    try:
        system, timeline, _ = identify(address)
    except BackupError as error:
        log.warning("backup.waiting", error=str(error).splitlines()[0])
        return None
    folder.belongs_to(system)
    target = folder.wal / f"{timeline:08X}"
    make_folder(target)
    common = [receive, "--directory", str(target), "--slot", SLOT, "--no-password"]
    try:
        run([*common, "--create-slot", "--if-not-exists"], "", environment(address))
    except BackupError as error:
        log.warning("backup.waiting", error=str(error).splitlines()[0])
        return None
    log.info("backup.following", timeline=timeline, folder=str(target))
    # written through to the disk before the server is told, and no loop of its own: we look who is there first
    return subprocess.Popen([*common, "--synchronous", "--no-loop"], env=dict(environment(address)))


def _take_when_due(folder: Folder, address: str, clock: Clock, every_hours: float, keep: int) -> None:
    known = folder.backups()
    due_ms = 0 if not known else int(known[-1].ended_at.timestamp() * 1000) + int(every_hours * 3_600_000)
    if clock.wall() < due_ms:
        return
    backup = take(folder, address, clock, keep)
    log.info("backup.taken", name=backup.name, bytes=backup.bytes)
