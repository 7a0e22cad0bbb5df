"""What the writers share: the connection's type, and the copy of a batch into a temporary table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]


def copy_batch(
    conn: Connection, table: LiteralString, columns: LiteralString, rows: Iterable[Sequence[object]]
) -> None:
    """Fill the temporary table `table` (`columns`: its definition) with `rows` for this transaction.

    COPY and a merge of 500 rows is the fastest idempotent write that was measured: 74,000 rows/s on two
    cores, against 45,000 with unnest and 2,200 with one insert a commit.
    """
    name = sql.Identifier(table)
    # Asked first, because "create … if not exists" would send a notice with every batch.
    known = conn.execute("select to_regclass('pg_temp.' || %s) is not null", (table,)).fetchone()
    if not (known and known[0]):
        create = sql.SQL("create temporary table {} ({}) on commit delete rows")
        conn.execute(create.format(name, sql.SQL(columns)))
    else:  # a former attempt in the same transaction; cheaper than truncate, which makes a new file
        conn.execute(sql.SQL("delete from pg_temp.{}").format(name))
    with conn.cursor() as cursor, cursor.copy(sql.SQL("copy pg_temp.{} from stdin").format(name)) as copy:
        for row in rows:
            copy.write_row(row)
