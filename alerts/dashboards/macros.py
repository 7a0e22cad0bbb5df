"""What Grafana does with a query before it sends it: macros and variables, as its PostgreSQL data source does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime


def _literal(at_ms: int) -> str:
    text = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return f"'{text}Z'"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def expand(sql: str, from_ms: int, to_ms: int, variables: Mapping[str, str | Sequence[str]]) -> str:
    """The query as the database gets it. Raises ValueError for a macro or variable that is unknown."""
    begin, end = _literal(from_ms), _literal(to_ms)
    sql = re.sub(r"\$__timeFilter\(([^()]*)\)", rf"\1 BETWEEN {begin} AND {end}", sql)
    sql = sql.replace("$__timeFrom()", begin).replace("$__timeTo()", end)

    def value(found: re.Match[str]) -> str:
        given = variables[found[1]]
        return _quoted(given) if isinstance(given, str) else ",".join(_quoted(one) for one in given)

    sql = re.sub(r"\$\{(\w+):sqlstring\}", value, sql)
    if "$" in sql:
        raise ValueError(f"not expanded: {sql[sql.index('$') :][:60]}")
    return sql
