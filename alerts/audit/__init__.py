"""The trail of accesses: who saw or did what, when, from where and why; append-only and chained (docs/audit.md)."""

from __future__ import annotations

from alerts.audit.entry import Entry, record, shell_user

__all__ = ["Entry", "record", "shell_user"]
