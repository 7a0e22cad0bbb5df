"""A database with the schema for each test, copied from a template that is made once (50 ms a copy)."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from alerts.schema import apply_schema
from alerts.store.connection import Connection
from scad.services import Postgres

TEMPLATE = "scad_schema"


@pytest.fixture(scope="session")
def schema_template(postgres: Postgres) -> str:
    address = postgres.create_database(TEMPLATE)
    with psycopg.connect(address, autocommit=True) as conn:
        apply_schema(conn)
    postgres.make_template(TEMPLATE)
    return TEMPLATE


@pytest.fixture
def store_address(postgres: Postgres, schema_template: str) -> Iterator[str]:
    """Address of a database with the schema and nothing in it."""
    address = postgres.create_database(template=schema_template)
    yield address
    postgres.drop_database(address)


@pytest.fixture
def store(store_address: str) -> Iterator[Connection]:
    with psycopg.connect(store_address, autocommit=True) as conn:
        yield conn
