"""The feed over an empty ward (one patient a team, nobody ill) or a full one, each in a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from feed_server import RunningFeed, running
from made_up_ward import NOW_MS, add_patient, enrol
from ward_fixtures import quick_hashes, ward, ward_template

__all__ = ["feed", "quick_hashes", "ward", "ward_template"]


@pytest.fixture
def feed(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    """Teams, accounts and patients p-caen and p-bayeux; no reading, no alert."""
    enrol(store, NOW_MS)
    add_patient(store, "p-caen", "caen", 1, "body-weight", NOW_MS)
    add_patient(store, "p-bayeux", "bayeux", 2, "body-weight", NOW_MS)
    with running(store_address, store) as found:
        yield found
