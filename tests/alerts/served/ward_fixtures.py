"""Fixtures that the tests of the feed share, with a browser or without; each conftest imports those it wants."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from argon2 import PasswordHasher
from feed_server import RunningFeed, running
from made_up_ward import fill

from alerts.feed import accounts
from alerts.schema import apply_schema
from scad.services import Postgres

WARD_DATABASE = "scad_ward"
_made: set[int] = set()
"""Servers that have the ward's template already: it takes seconds, and both folders of tests want it."""


@pytest.fixture(autouse=True, scope="module")
def quick_hashes() -> Iterator[None]:
    """Passwords hashed at a fraction of the cost: the tests log in some hundred times."""
    patch = pytest.MonkeyPatch()
    patch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def ward_template(postgres: Postgres) -> str:
    """The full ward, evaluated once for the run."""
    if id(postgres) not in _made:
        address = postgres.create_database(WARD_DATABASE)
        with psycopg.connect(address, autocommit=True) as conn:
            apply_schema(conn)
            fill(conn)
        postgres.make_template(WARD_DATABASE)
        _made.add(id(postgres))
    return WARD_DATABASE


@pytest.fixture
def ward(postgres: Postgres, ward_template: str) -> Iterator[RunningFeed]:
    """Every story of the ward, up to NOW_MS."""
    address = postgres.create_database(template=ward_template)
    with psycopg.connect(address, autocommit=True) as conn, running(address, conn) as found:
        yield found
    postgres.drop_database(address)
