"""Bundles of a search, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from fastapi import Request

from alerts.fhir.outcome import FhirError
from alerts.fhir.queries import Place
from alerts.fhir.search import PAGE, bad

Json = dict[str, Any]
BETWEEN = "~"  # in no serial, no instant, no id


def base_of(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/fhir"


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds, and where the next one goes on (None: it is the last)."""

    resources: list[Json]
    next: str | None = None


def searchset(request: Request, page: Page) -> Json:
    """The page as a Bundle with links to itself and to the next one. Without a total: counting years of readings
    costs more than anybody gains."""
    base = base_of(request)
    here = str(request.url.path).removeprefix("/fhir")
    asked = [(name, text) for name, text in request.query_params.multi_items() if name != PAGE]
    links = [{"relation": "self", "url": str(request.url)}]
    if page.next is not None:
        query = urlencode([*asked, (PAGE, page.next)], safe=",:|/", quote_via=quote)
        links.append({"relation": "next", "url": f"{base}{here}?{query}"})
    entries = [
        {"fullUrl": f"{base}/{it['resourceType']}/{it['id']}", "resource": it, "search": {"mode": "match"}}
        for it in page.resources
    ]
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", "link": links}
    return {**bundle, "entry": entries} if entries else bundle


def cursor(parts: Iterable[object]) -> str:
    """A place in an order as text, for a link."""
    return BETWEEN.join(_text(part) for part in parts)


def _text(part: object) -> str:
    if isinstance(part, datetime):
        return part.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return part.hex() if isinstance(part, bytes) else str(part)


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)


def no_page(text: str) -> FhirError:
    return bad(f"{PAGE}={text}: no place of this search; follow the links of its first page")


def observation_place(text: str | None) -> Place | None:
    """Raises FhirError for a text that no link of ours has."""
    if text is None:
        return None
    try:
        at, device, epoch, seq, digest = text.split(BETWEEN)
        place = _instant(at), device, int(epoch), int(seq), bytes.fromhex(digest)
        # a bigint in the database
        if not all(0 <= number < 2**63 for number in place[2:4]):
            raise ValueError("out of range")
    except ValueError:
        raise no_page(text) from None
    return place


def alert_place(text: str | None) -> tuple[datetime, UUID] | None:
    """Raises FhirError for a text that no link of ours has."""
    if text is None:
        return None
    try:
        at, alert = text.split(BETWEEN)
        return _instant(at), UUID(alert)
    except ValueError:
        raise no_page(text) from None
