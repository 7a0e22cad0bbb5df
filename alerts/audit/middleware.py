"""Every request about a patient, every action, log-in and refusal is in the trail before its answer leaves."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alerts.audit import watch
from alerts.audit.entry import Entry
from devices.times import format_instant

log = structlog.get_logger()

# What the live page asks for by itself: a patient in it is on record once for a session in so long a time.
PASSIVE = frozenset({"/queue/rows", "/api/stream"})
CONDENSE_MS = 15 * 60_000
SESSIONS_MAX = 5_000  # remembered for this; a forgotten one writes a line more

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Two cookies that say nothing about anybody, and a page that is open to everybody.
UNRECORDED = frozenset({"/preferences"})
REFUSED = frozenset({401, 403, 404, 429})
# What a pseudonym is made of; anything else in an address is nobody, and is not written down.
_PSEUDONYM = re.compile(r"[A-Za-z0-9._-]{1,64}")

_UNWRITTEN = JSONResponse(
    {"detail": "the trail of accesses cannot be written, so nothing is shown; try again"},
    503,
    headers={"Retry-After": "5", "Cache-Control": "no-store"},
)


class Trail(Protocol):
    """Where the entries go."""

    async def record(self, *entries: Entry) -> None: ...

    async def is_patient(self, name: str) -> bool: ...


class AuditMiddleware:
    """ASGI middleware, around the routes and inside whatever sets headers. `now_ms` is the wall's time."""

    def __init__(self, app: ASGIApp, trail: Trail, now_ms: Callable[[], int]) -> None:
        self._app, self._trail, self._now_ms = app, trail, now_ms
        self._condensed = Condensed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        seen = watch.begin()
        refused = False

        async def recorded(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and not await self._written(
                scope, seen, message["status"]
            ):
                refused = True
                await _UNWRITTEN(scope, receive, send)
            if not refused:
                await send(message)

        await self._app(scope, receive, recorded)

    async def _written(self, scope: Scope, seen: watch.Seen, status: int) -> bool:
        """Whether the answer may go out: it is on record, or nothing in it has to be."""
        try:
            entry = await self._entry(scope, seen, status)
            if entry is not None:
                await asyncio.shield(self._trail.record(entry))  # also when the browser has gone
        except Exception as error:
            log.error("the trail of accesses cannot be written", error=str(error).strip())
            return status >= 400  # a refusal says nothing of anybody
        return True

    async def _entry(self, scope: Scope, seen: watch.Seen, status: int) -> Entry | None:
        route = getattr(scope.get("route"), "path", "")
        if route in UNRECORDED or not route or status >= 500:  # such an answer says nothing of anybody
            return None
        viewer: Any = scope.get("state", {}).get("viewer")
        patients = await self._patients(scope, seen, status)
        session = viewer.token_hash.hex()[:12] if viewer is not None else ""
        now_ms = self._now_ms()
        if route in PASSIVE and status < 400:
            patients = self._condensed.fresh(session, patients, now_ms)
            if not patients:
                return None
        action = scope["method"] not in SAFE_METHODS
        if viewer is None and status in (401, 403, 429) and (route != "/login" or status == 429):
            return None  # nobody, and nothing happened: a flood of these would be one of lines
        if not (patients or action or seen.did or (status in REFUSED and viewer is not None)):
            return None
        opened = set(getattr(viewer, "glass", ())) & patients
        return Entry(
            at=format_instant(now_ms),
            by=seen.by or (viewer.login if viewer is not None else ""),
            role=viewer.role if viewer is not None else "",
            did=seen.did or f"{scope['method']} {route}",
            patients=tuple(sorted(patients)),
            at_from=scope["client"][0] if scope.get("client") else "",
            session=session,
            status=status,
            about=seen.about,
            why=seen.why or ("break the glass" if opened else ""),
        )

    async def _patients(self, scope: Scope, seen: watch.Seen, status: int) -> set[str]:
        """Those whose rows were read, and the one in the address. A name that is nobody's pseudonym might be
        anything that somebody has typed."""
        named = str(scope.get("path_params", {}).get("patient", ""))
        asked = bool(named) and _PSEUDONYM.fullmatch(named) is not None and named not in seen.patients
        if asked and (status not in REFUSED or await self._trail.is_patient(named)):
            return seen.patients | {named}
        return set(seen.patients)


class Condensed:
    """Which patients a session's live page has on record lately."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, dict[str, int]] = OrderedDict()

    def fresh(self, session: str, patients: set[str], now_ms: int) -> set[str]:
        """Those that are not on record since CONDENSE_MS, which they are from now on."""
        known = self._sessions.setdefault(session, {})
        self._sessions.move_to_end(session)
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        for name in [name for name, at in known.items() if now_ms - at >= CONDENSE_MS]:
            del known[name]
        fresh = patients - known.keys()
        known.update(dict.fromkeys(fresh, now_ms))
        return fresh
