"""What `scad backup follow` tells Prometheus: how old the last backup and the log are, and what room is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from scad.backups.folder import BackupError, Folder

TOLD = {
    "scad_backup_last_timestamp_seconds": "When the newest whole base backup was ended, by the wall's clock",
    "scad_backup_last_bytes": "What the newest whole base backup takes",
    "scad_backup_log_timestamp_seconds": "When the kept write-ahead log was last written to, by the wall's clock",
    "scad_backup_free_bytes": "What is free on the disk of the folder of backups",
}


class BackupFigures(Collector):
    """Looks into the folder when somebody scrapes, so that it says the same as `scad backup list`; what is not there
    (no backup yet, no log yet) has no value."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def describe(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, says) for name, says in TOLD.items()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        values = self._values()
        for family in self.describe():
            if family.name in values:
                family.add_metric([], values[family.name])
            yield family

    def _values(self) -> dict[str, float]:
        found: dict[str, float] = {}
        # the folder is away or not ours, or a backup is being deleted: the rest is told next time
        with suppress(OSError, BackupError):
            if known := self._folder.backups():
                found["scad_backup_last_timestamp_seconds"] = known[-1].ended_at.timestamp()
                found["scad_backup_last_bytes"] = known[-1].bytes
            if (written := self._folder.last_written_at()) is not None:
                found["scad_backup_log_timestamp_seconds"] = written.timestamp()
            found["scad_backup_free_bytes"] = shutil.disk_usage(self._folder.path).free
        return found
