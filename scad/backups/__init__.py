"""Backups of the database with point in time, by PostgreSQL's own programs with checks around them.

A folder of backups:

    base/20261122T143000Z/        a base backup, verified (pg_basebackup, pg_verifybackup)
    base/20261122T143000Z.json    what `Backup` says of it
    wal/00000001/                 everything that was written since, as it was written (pg_receivewal): a folder
                                  for each timeline, because a restored server begins a new one
    system                        the identity of the server, so that two never share a folder

Readings and alerts that a restored database lacks come again from Kafka by themselves (streams/placing.py).
"""

from __future__ import annotations

from scad.backups.folder import Backup, BackupError, Folder
from scad.backups.restoring import Restored, restore
from scad.backups.taking import take
from scad.backups.wal import follow

__all__ = ["Backup", "BackupError", "Folder", "Restored", "follow", "restore", "take"]
