"""All checks, one after the other; and those that ask this machine and the processes' own addresses."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from devices.times import to_datetime
from scad.backups.folder import BackupError, Folder
from scad.checks.certificates import check_certificates
from scad.checks.database import check_database
from scad.checks.finding import Finding, fault, fine, warning
from scad.checks.kafka import check_kafka
from scad.checks.kafka_accounts import check_accounts
from scad.checks.mqtt import check_mqtt
from scad.clock import Clock
from scad.settings import SettingsError, load_settings

HTTP_SECONDS = 5.0
DISK_SHARE = 0.10
DISK_FAULT_SHARE = 0.02
BACKUP_HOURS = 48
LOG_HOURS = 2  # a server writes something every few minutes; one that nobody uses may not


def check_all(
    environ: Mapping[str, str] | None = None,
    addresses: Sequence[str] = (),
    folders: Sequence[Path] = (),
    backups: Path | None = None,
    accounts: Path | None = None,
) -> list[Finding]:
    """Everything that can be asked from here. `addresses`: of metrics servers and feeds, as http://host:port;
    `folders`: whose disks are looked at beside the data folder; `backups`: a folder of `scad backup`; `accounts`: the
    folder with the passwords of Kafka's accounts."""
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        return [
            fault("settings", line.strip(), "docs/operation.md has the table of settings")
            for line in str(error).splitlines()[1:]
        ]
    clock = settings.make_clock()
    found = [fine("settings", "every one can be used")]
    found += check_mqtt(settings)
    found += check_kafka(settings)
    if accounts is not None:
        found += check_accounts(settings, accounts)
    found += check_database(settings, clock)
    found += check_certificates(settings, to_datetime(clock.wall()))
    for address in addresses:
        found.append(check_process(address))
    for folder in (Path(settings.data_dir), *folders, *([backups] if backups else [])):
        found += check_disk(folder)
    if backups is not None:
        found += check_backups(Folder(backups), clock)
    return found


def check_process(address: str) -> Finding:
    """`/health/ready` of one process."""
    where = address.rstrip("/")
    if not where.startswith(("http://", "https://")):
        return fault("processes", f"{address!r} is no address", "give it as http://host:port")
    try:
        with urllib.request.urlopen(f"{where}/health/ready", timeout=HTTP_SECONDS):  # noqa: S310 - checked above
            return fine("processes", f"{where} is ready")
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read(2_000).decode(errors="replace").strip()
        return fault(
            "processes", f"{where} is not ready: {reason}", "the reason names it; see docs/runbooks.md"
        )
    except OSError as error:
        remedy = "is the process running, and SCAD_METRICS_HOST reachable from here?"
        return fault("processes", f"{where} does not answer: {error}", remedy)


def check_disk(folder: Path) -> list[Finding]:
    """The room on the disk of a folder, or of the nearest one above that exists."""
    there = next(
        (each for each in (folder.absolute(), *folder.absolute().parents) if each.exists()), Path("/")
    )
    usage = shutil.disk_usage(there)
    share = usage.free / usage.total
    text = f"{there}: {usage.free >> 30} GB of {usage.total >> 30} GB left"
    remedy = "make room: `scad schema retain`, `scad archive` (docs/archive.md), a larger disk"
    if share < DISK_FAULT_SHARE:
        return [fault("disk", text, remedy)]
    return [warning("disk", text, remedy) if share < DISK_SHARE else fine("disk", text)]


def check_backups(folder: Folder, clock: Clock) -> list[Finding]:
    now = to_datetime(clock.wall())
    try:
        known, written = folder.backups(), folder.last_written_at()
    except BackupError as error:
        return [
            fault(
                "backup", str(error), "run this as a user of that group (deploy/systemd/scad-check.service)"
            )
        ]
    if not known:
        return [fault("backup", f"no base backup in {folder.path}", "run `scad backup follow` as a service")]
    hours = (now - known[-1].ended_at).total_seconds() / 3600
    text = f"{len(known)} base backups, the last {hours:.0f} h ago"
    found = [
        fine("backup", text)
        if hours < BACKUP_HOURS
        else fault("backup", text, "is `scad backup follow` running? See its log")
    ]
    if written is None or (now - written).total_seconds() > LOG_HOURS * 3600:
        since = "never" if written is None else f"at {written:%Y-%m-%dT%H:%M:%SZ}"
        found.append(
            fault(
                "backup", f"the log was last written {since}", "is `scad backup follow` running? See its log"
            )
        )
    return found
