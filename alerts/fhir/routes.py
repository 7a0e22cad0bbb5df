"""The routes under /fhir: read, search, the whole file of a patient, the CapabilityStatement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from alerts.feed import queries as feed_queries
from alerts.feed.context import FeedDep, SeeingDep, SessionDep
from alerts.feed.database import Connection
from alerts.feed.models import Alert, Person
from alerts.feed.viewer import Viewer
from alerts.fhir import bundles, capability, queries
from alerts.fhir.bundles import Page
from alerts.fhir.codes import identifier_system, kinds_in, kinds_with, system
from alerts.fhir.ids import fits, logical_id, observation_id, parse_observation_id
from alerts.fhir.issues import Found, detected_issue, provenance
from alerts.fhir.observation import observation
from alerts.fhir.outcome import FhirError, FhirResponse, outcome
from alerts.fhir.people import device, patient
from alerts.fhir.queries import Where
from alerts.fhir.search import Search, Type, bad, check_format, parse, referenced, span_of

Json = dict[str, Any]
UTC_ZONE = "UTC"

# What $everything takes: a span of measurements, and pages. Its resources are those of PARAMETERS.
EVERYTHING: dict[str, Type] = {"start": "date", "end": "date"}
OF_READINGS, OF_ALERTS = "readings", "alerts"


def accepts(request: Request) -> None:
    """Raises FhirError (406) where only something else than JSON is asked for."""
    accept = request.headers.get("accept", "*/*")
    if not any(form in accept for form in ("*/*", "application/*", "json")):
        raise FhirError(
            406, "not-supported", f"Accept: {accept[:100]}: there is JSON only, application/fhir+json"
        )


# The operations are described by the CapabilityStatement, not by the document of /api.
fhir = APIRouter(
    prefix="/fhir",
    include_in_schema=False,
    default_response_class=FhirResponse,
    dependencies=[Depends(accepts)],
)


async def fhir_error(_: Request, error: Exception) -> Response:
    """The OperationOutcome of a FhirError."""
    if not isinstance(error, FhirError):
        raise error
    return FhirResponse(outcome(error.status, error.words, error.code), error.status)


def _missing(resource: str, id_: str) -> NoReturn:
    raise FhirError(404, "not-found", f"no {resource}/{id_[:64]}, or it is not about your patients")


def _asked(request: Request, resource: str, known: dict[str, Type] | None = None) -> Search:
    return parse(resource, request.query_params.multi_items(), known)


def _read_only_format(request: Request) -> None:
    """A read has no parameter but the format."""
    for name, text in request.query_params.multi_items():
        if name != "_format":
            raise bad(f"{name}: a read takes _format only", "not-supported")
        check_format(text)


def _identifiers(tokens: list[str], kind: str) -> list[str]:
    """Values of tokens about identifiers of one system: `system|value` or `value`."""
    found = []
    for token in tokens:
        of, bar, value = token.rpartition("|")
        if not bar or of == identifier_system(kind):
            found.append(value)
    return found


def _narrow(where: Where, search: Search, column: str, kind: str) -> None:
    """`_id` and `identifier`, where the id is the name itself or its hash."""
    where.ids(column, search.one_of("_id"))
    for number, tokens in enumerate(search.all("identifier")):
        wanted = _identifiers(tokens, kind)
        where.add(f"{column} = any(%(identifier{number})s)", **{f"identifier{number}": wanted})


@fhir.get("/metadata")
async def metadata(request: Request, _: SessionDep) -> FhirResponse:
    """What this server can do."""
    _read_only_format(request)
    return FhirResponse(capability.statement(bundles.base_of(request)))


# ── patients ────────────────────────────────────────────────────────────────────────────────────────────────


async def _find_person(conn: Connection, viewer: Viewer, id_: str) -> Person | None:
    """The patient with this logical id, if the viewer may see it."""
    if not fits(id_):
        return None
    where = Where()
    where.ids("p.patient", [id_])
    for name in await queries.patients(conn, where, None, 2):
        if logical_id(name) == id_:
            return (await feed_queries.persons(conn, viewer, [name])).get(name)
    return None


async def _person(conn: Connection, viewer: Viewer, id_: str) -> Person:
    return await _find_person(conn, viewer, id_) or _missing("Patient", id_)


@fhir.get("/Patient")
async def patient_search(request: Request, feed: FeedDep, viewer: SeeingDep) -> FhirResponse:
    """The care team's patients."""
    search, where = _asked(request, "Patient"), Where()
    _narrow(where, search, "p.patient", "patient")
    async with feed.database.reading(viewer) as conn:
        names = await queries.patients(conn, where, search.page, search.count + 1)
        found = await feed_queries.persons(conn, viewer, names[: search.count])
    resources = [patient(found[name]) for name in names[: search.count] if name in found]
    more = names[search.count - 1] if len(names) > search.count else None
    return FhirResponse(bundles.searchset(request, Page(resources, more)))


@fhir.get("/Patient/{id}")
async def patient_read(request: Request, feed: FeedDep, viewer: SeeingDep, id: str) -> FhirResponse:
    """One patient, by the pseudonym."""
    _read_only_format(request)
    async with feed.database.reading(viewer) as conn:
        return FhirResponse(patient(await _person(conn, viewer, id)))


# ── devices ─────────────────────────────────────────────────────────────────────────────────────────────────


@fhir.get("/Device")
async def device_search(request: Request, feed: FeedDep, viewer: SeeingDep) -> FhirResponse:
    """Devices of the care team's patients, and those that nobody has."""
    search, where = _asked(request, "Device"), Where()
    _narrow(where, search, "d.device", "device")
    where.ids("s.patient", _patients(search))
    async with feed.database.reading(viewer) as conn:
        rows = await queries.devices(conn, where, search.page, search.count + 1)
    more = rows[search.count - 1]["device"] if len(rows) > search.count else None
    return FhirResponse(bundles.searchset(request, Page([device(row) for row in rows[: search.count]], more)))


@fhir.get("/Device/{id}")
async def device_read(request: Request, feed: FeedDep, viewer: SeeingDep, id: str) -> FhirResponse:
    """One device, by its serial."""
    _read_only_format(request)
    if not fits(id):
        _missing("Device", id)
    where = Where()
    where.ids("d.device", [id])
    async with feed.database.reading(viewer) as conn:
        found = [
            row for row in await queries.devices(conn, where, None, 2) if logical_id(row["device"]) == id
        ]
    return FhirResponse(device(found[0])) if found else _missing("Device", id)


def _patients(search: Search) -> list[str] | None:
    """Ids of patients that `patient` and `subject` allow; None when neither is asked."""
    found: list[str] | None = None
    for name in ("patient", "subject"):
        for texts in search.all(name):
            ids = referenced(name, texts, "Patient")
            found = ids if found is None else [id_ for id_ in found if id_ in ids]
    return found


async def _zone(conn: Connection, viewer: Viewer, ids: list[str] | None) -> str:
    """The time zone of dates without an offset: the care team's of the one patient asked for."""
    person = await _find_person(conn, viewer, ids[0]) if ids is not None and len(ids) == 1 else None
    return person.time_zone if person is not None else UTC_ZONE


# ── observations ────────────────────────────────────────────────────────────────────────────────────────────


def _kinds(where: Where, search: Search) -> None:
    """`code`, `combo-code` and `category`: kinds, and for glucose what was measured."""
    asked = [kinds_with(tokens, components=False) for tokens in search.all("code")]
    asked += [kinds_with(tokens, components=True) for tokens in search.all("combo-code")]
    asked += [kinds_in(tokens) for tokens in search.all("category")]
    if not asked:
        return
    allowed = set.intersection(*asked)
    where.add(
        "r.kind = any(%(kinds)s) and (r.kind <> 'glucose' or"
        " (case when r.context ->> 'sample' in ('capillary', 'interstitial') then r.context ->> 'sample'"
        " else '' end) = any(%(samples)s))",
        kinds=sorted({kind for kind, _ in allowed}),
        samples=sorted({sample for kind, sample in allowed if kind == "glucose"}),
    )


def _named(where: Where, ids: list[str] | None) -> None:
    if ids is not None:
        queries.named(where, [found for found in map(parse_observation_id, ids) if found is not None])


async def _observations(conn: Connection, where: Where, search: Search) -> Page:
    """A page of Observations: where ids are asked for, those alone."""
    ids = search.one_of("_id")
    _named(where, ids)
    rows = await queries.observations(
        conn,
        where,
        search.count + 1,
        after=bundles.observation_place(search.page),
        ascending=search.ascending,
    )
    more = bundles.cursor(queries.place_of(rows[search.count - 1])) if len(rows) > search.count else None
    shown = [row for row in rows[: search.count] if ids is None or observation_id(row) in ids]
    return Page([observation(row) for row in shown], more)


@fhir.get("/Observation")
async def observation_search(request: Request, feed: FeedDep, viewer: SeeingDep) -> FhirResponse:
    """Readings of a patient, the latest first."""
    search, where = _asked(request, "Observation"), Where()
    wanted = _patients(search)
    if wanted is None and search.one_of("_id") is None:
        raise bad("patient: name one (patient=[id]), or ask by _id", "too-costly")
    where.ids("r.patient", wanted)
    for texts in search.all("device"):
        where.ids("r.device", referenced("device", texts, "Device"))
    _kinds(where, search)
    async with feed.database.reading(viewer) as conn:
        where.span("r.measured_at", span_of("date", search.all("date"), await _zone(conn, viewer, wanted)))
        return FhirResponse(bundles.searchset(request, await _observations(conn, where, search)))


@fhir.get("/Observation/{id}")
async def observation_read(request: Request, feed: FeedDep, viewer: SeeingDep, id: str) -> FhirResponse:
    """One reading, with its whole strip where it has one."""
    _read_only_format(request)
    where, parsed = Where(), parse_observation_id(id)
    if parsed is None:
        _missing("Observation", id)
    queries.named(where, [parsed])
    async with feed.database.reading(viewer) as conn:
        rows = await queries.observations(conn, where, 10, whole=True)
    found = [row for row in rows if observation_id(row) == id]
    return FhirResponse(observation(found[0])) if found else _missing("Observation", id)


# ── alerts ──────────────────────────────────────────────────────────────────────────────────────────────────

Made = Callable[[Alert, datetime, Found], list[Json]]


def _issues(alert: Alert, _: datetime, found: Found) -> list[Json]:
    return [detected_issue(alert, found)]


def _provenances(alert: Alert, stored_at: datetime, found: Found) -> list[Json]:
    return [provenance(alert, stored_at, found)]


def _both(alert: Alert, stored_at: datetime, found: Found) -> list[Json]:
    return [detected_issue(alert, found), provenance(alert, stored_at, found)]


def _uuids(texts: Iterable[str]) -> list[UUID]:
    """Those that are written as ids are: others name nothing."""
    found = []
    for text in texts:
        try:
            which = UUID(text)
        except ValueError:
            continue
        if str(which) == text:
            found.append(which)
    return found


async def _alerts(conn: Connection, where: Where, page: str | None, count: int, make: Made) -> Page:
    rows = await queries.alerts(conn, where, bundles.alert_place(page), count + 1)
    shown = rows[:count]
    stored = await queries.digests_of(conn, [alert for alert, _ in shown])
    found = {reading: [observation_id(row) for row in rows_] for reading, rows_ in stored.items()}
    more = bundles.cursor((shown[-1][0].opened_at, shown[-1][0].alert)) if len(rows) > count else None
    return Page([it for alert, stored_at in shown for it in make(alert, stored_at, found)], more)


def _of_alerts(search: Search) -> Where:
    """`_id`, `patient`, `code`, `identifier` and `target`."""
    where = Where()
    where.ids("a.patient", _patients(search))
    ids = search.one_of("_id")
    if ids is not None:
        where.add("a.alert = any(%(ids)s)", ids=_uuids(ids))
    for number, tokens in enumerate(search.all("identifier")):
        wanted = _uuids(_identifiers(tokens, "alert"))
        where.add(f"a.alert = any(%(identifier{number})s)", **{f"identifier{number}": wanted})
    for number, texts in enumerate(search.all("target")):
        wanted = _uuids(referenced("target", texts, "DetectedIssue"))
        where.add(f"a.alert = any(%(target{number})s)", **{f"target{number}": wanted})
    for number, tokens in enumerate(search.all("code")):
        names = [
            name
            for of, bar, name in (token.rpartition("|") for token in tokens)
            if not bar or of == system("rule")
        ]
        where.add(f"a.protocol || '/' || a.rule = any(%(code{number})s)", **{f"code{number}": names})
    return where


async def _alert_search(
    request: Request, feed: FeedDep, viewer: Viewer, resource: str, date: tuple[str, str], make: Made
) -> FhirResponse:
    search = _asked(request, resource)
    where, (name, column) = _of_alerts(search), date
    async with feed.database.reading(viewer) as conn:
        zone = await _zone(conn, viewer, _patients(search))
        where.span(column, span_of(name, search.all(name), zone))
        page = await _alerts(conn, where, search.page, search.count, make)
    return FhirResponse(bundles.searchset(request, page))


async def _alert_read(
    request: Request, feed: FeedDep, viewer: Viewer, resource: str, id_: str, make: Made
) -> FhirResponse:
    _read_only_format(request)
    where = Where()
    where.add("a.alert = any(%(ids)s)", ids=_uuids([id_]))
    async with feed.database.reading(viewer) as conn:
        page = await _alerts(conn, where, None, 1, make)
    return FhirResponse(page.resources[0]) if page.resources else _missing(resource, id_)


@fhir.get("/DetectedIssue")
async def issue_search(request: Request, feed: FeedDep, viewer: SeeingDep) -> FhirResponse:
    """Alerts of every state, the latest opened first."""
    return await _alert_search(request, feed, viewer, "DetectedIssue", ("identified", "a.opened_at"), _issues)


@fhir.get("/DetectedIssue/{id}")
async def issue_read(request: Request, feed: FeedDep, viewer: SeeingDep, id: str) -> FhirResponse:
    """One alert."""
    return await _alert_read(request, feed, viewer, "DetectedIssue", id, _issues)


@fhir.get("/Provenance")
async def provenance_search(request: Request, feed: FeedDep, viewer: SeeingDep) -> FhirResponse:
    """How alerts came about, in the order of the alerts."""
    date = ("recorded", "a.raised_stored_at")
    return await _alert_search(request, feed, viewer, "Provenance", date, _provenances)


@fhir.get("/Provenance/{id}")
async def provenance_read(request: Request, feed: FeedDep, viewer: SeeingDep, id: str) -> FhirResponse:
    """How one alert came about."""
    return await _alert_read(request, feed, viewer, "Provenance", id, _provenances)


# ── the whole file ──────────────────────────────────────────────────────────────────────────────────────────


@fhir.get("/Patient/{id}/$everything")
async def everything(request: Request, feed: FeedDep, viewer: SeeingDep, id: str) -> FhirResponse:
    """The patient's whole file, page by page: the patient and the devices, then readings, then alerts.

    `start` and `end` bound when it was measured; both are days that count.
    """
    search = _asked(request, "Patient", EVERYTHING)
    part, _, page = (search.page or OF_READINGS).partition(":")
    if part not in (OF_READINGS, OF_ALERTS):
        raise bundles.no_page(part)
    async with feed.database.reading(viewer) as conn:
        person = await _person(conn, viewer, id)
        dates = [[f"{prefix}{text}"] for prefix, name in (("ge", "start"), ("le", "end"))
                 for texts in search.all(name) for text in texts]  # fmt: skip
        span = span_of("start, end", dates, person.time_zone)
        where = Where()
        where.add("patient = %(whose)s", whose=person.patient)
        if part == OF_READINGS:
            where.span("r.measured_at", span)
            found = await _observations(conn, where, Search(count=search.count, page=page or None))
            first = (
                []
                if page
                else [patient(person), *map(device, await queries.devices_of(conn, person.patient))]
            )
            more = f"{OF_READINGS}:{found.next}" if found.next else OF_ALERTS
            answer = Page(first + found.resources, more)
        else:
            where.span("a.opened_at", span)
            found = await _alerts(conn, where, page or None, search.count, _both)
            answer = Page(found.resources, f"{OF_ALERTS}:{found.next}" if found.next else None)
    return FhirResponse(bundles.searchset(request, answer))
