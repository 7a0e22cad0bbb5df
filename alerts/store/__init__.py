"""The database's writers: batches in, each row once, however often the batch comes.

Delivery is at least once on every topic; each function here is idempotent, may be called again with any part
of what it has already stored, and belongs inside the caller's transaction.
"""

from alerts.store.quarantine import QuarantineRow, quarantine_id, write_quarantine
from alerts.store.readings import Stored, main_value, write_readings
from alerts.store.signals import Folded, standing_episodes, write_signals
from alerts.store.status import StatusRow, write_status
from devices.content import content_digest

__all__ = [
    "Folded",
    "QuarantineRow",
    "StatusRow",
    "Stored",
    "content_digest",
    "main_value",
    "quarantine_id",
    "standing_episodes",
    "write_quarantine",
    "write_readings",
    "write_signals",
    "write_status",
]
