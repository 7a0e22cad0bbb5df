"""Service times: until when somebody must have answered an alert, on the working calendar of its care team.

Settings belong to a team (`ServiceTimes`, a version in `scad.service_times`); a team that has set nothing has
the defaults below. They are proposals of this project without clinical authority: no French text that was found
fixes a response time (clinical reference, sections 1.5, 7 and 11); docs/escalation.md names each one's source.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import structlog

from alerts.working_hours import Holidays, NoWorkingTimeError, Span, WorkingHours
from devices.times import to_datetime
from streams.signal import AlertClass, Severity

if TYPE_CHECKING:  # alerts.store asks this module for due times
    from alerts.store.connection import Connection

log = structlog.get_logger()

AsyncConnection = psycopg.AsyncConnection[Any]

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MINUTES_MAX = 60_000  # some half a year of office hours: nothing that is due later is due
STEPS_MAX = 3  # levels of a chain (alerts.lifecycle.ESCALATION_MAX); the default has two
CONTACTS_MAX = 20  # people of one step; more is a mailing list's work
CLOSED_MAX = 400  # extra closed days; as many as a calendar is searched for

OFFICE: tuple[str, ...] = ("09:00-17:00",)
DUE_HIGH, DUE_MEDIUM, DUE_LOW, DUE_TECHNICAL = 30, 480, 2_400, 960
"""Working minutes. High: the second nurse is asked 30 min after a red alert (reference 7). Medium: one working
day, technical: two (1.5). Low: five working days (hl7-be patient-monitoring: within 48 h when urgent, else 5
working days)."""
STEP_SECOND_NURSE, STEP_PHYSICIAN = 0, 30
"""Working minutes past due: with the default of 30 min these are the reference's 30 and 60 min after it was
raised."""
OUTSIDE_FR = (
    "L’équipe ne lit pas les alertes en ce moment. Ce service n’est pas un service d’urgence : "
    "en cas d’urgence, appelez le 15 ou le 112."
)
OUTSIDE_EN = (
    "Nobody of the team reads alerts at this time. This is not an emergency service: "
    "in an emergency call 15 or 112."
)

Channel = Literal["mail", "webhook"]
Language = Literal["fr", "en"]
Minutes = Annotated[int, msgspec.Meta(ge=0, le=MINUTES_MAX)]
DueMinutes = Annotated[int, msgspec.Meta(ge=1, le=MINUTES_MAX)]
ClockTime = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
SpanText = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

# One address, no header of its own: a line break would begin another header of the message.
_MAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,255}")
_URL = re.compile(r"https://[^\s@]{1,2000}|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/\S{0,2000})?")


class Contact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who is told. `from` and `until` bound a turn on call; absent: always."""

    person: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    channel: Channel
    address: str
    language: Language = "fr"
    from_: Instant | None = msgspec.field(default=None, name="from")
    until: Instant | None = None

    def __post_init__(self) -> None:
        pattern = _MAIL if self.channel == "mail" else _URL
        if not pattern.fullmatch(self.address):
            wanted = "an e-mail address" if self.channel == "mail" else "an https:// address without a user"
            raise ValueError(f"address {self.address!r} is not {wanted}")
        if self.from_ is not None and self.until is not None and self.until <= self.from_:
            raise ValueError(f"the turn of {self.person} ends before it begins")

    def on_call(self, now: datetime) -> bool:
        return (self.from_ is None or self.from_ <= now) and (self.until is None or now < self.until)


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of the chain: who is told when nobody has answered `after` working minutes past due."""

    after: Minutes
    to: Annotated[tuple[Contact, ...], msgspec.Meta(max_length=CONTACTS_MAX)] = ()


class Due(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Working minutes from the raising until somebody must have acknowledged. `technical` is of that class."""

    high: DueMinutes = DUE_HIGH
    medium: DueMinutes = DUE_MEDIUM
    low: DueMinutes = DUE_LOW
    technical: DueMinutes = DUE_TECHNICAL


def _span(text: str) -> Span:
    start, end = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
    return start, end


class Hours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Spans of each weekday on the team's own clocks, as "09:00-12:30"."""

    monday: tuple[SpanText, ...] = OFFICE
    tuesday: tuple[SpanText, ...] = OFFICE
    wednesday: tuple[SpanText, ...] = OFFICE
    thursday: tuple[SpanText, ...] = OFFICE
    friday: tuple[SpanText, ...] = OFFICE
    saturday: tuple[SpanText, ...] = ()
    sunday: tuple[SpanText, ...] = ()

    def week(self) -> tuple[tuple[Span, ...], ...]:
        return tuple(tuple(_span(text) for text in getattr(self, day)) for day in DAYS)


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    fr: Words = OUTSIDE_FR
    en: Words = OUTSIDE_EN


class Digest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The morning's list of medium alerts: at this time of each working day, to these people."""

    at: ClockTime = "09:00"
    to: Annotated[tuple[Contact, ...], msgspec.Meta(max_length=CONTACTS_MAX)] = ()


class ServiceTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a team has set. `escalate`: severities of clinical alerts that go up the chain."""

    hours: Hours = Hours()
    holidays: Holidays = "fr"
    closed: Annotated[tuple[date, ...], msgspec.Meta(max_length=CLOSED_MAX)] = ()
    due: Due = Due()
    escalate: tuple[Severity, ...] = ("high",)
    steps: Annotated[tuple[Step, ...], msgspec.Meta(max_length=STEPS_MAX)] = (
        Step(after=STEP_SECOND_NURSE),
        Step(after=STEP_PHYSICIAN),
    )
    outside_hours: Message = Message()
    digest: Digest = Digest()

    def __post_init__(self) -> None:
        after = [step.after for step in self.steps]
        if after != sorted(set(after)):
            raise ValueError(f"steps must come one after the other: {after} working minutes past due")
        WorkingHours(ZoneInfo("UTC"), self.hours.week())  # says what is wrong with the week


DEFAULTS = ServiceTimes()


@dataclass(frozen=True)
class Team:
    """A care team with what it has set."""

    care_team: str
    name: str
    time_zone: str
    times: ServiceTimes = DEFAULTS

    @cached_property
    def calendar(self) -> WorkingHours:
        times = self.times
        return WorkingHours(
            ZoneInfo(self.time_zone), times.hours.week(), times.holidays, frozenset(times.closed)
        )


NO_TEAM = Team("", "", "Europe/Paris")
"""For a patient whom enrolment does not know (restored from an older backup): the defaults."""


@dataclass(frozen=True, slots=True)
class OutsideHours:
    """What to say while a team is closed, and when it opens (UTC)."""

    fr: str
    en: str
    next_open: datetime


def due_at(severity: Severity, raised_at: datetime, team: Team, cls: AlertClass = "clinical") -> datetime:
    """Until when an alert wants an acknowledgement; UTC.

    A calendar without any working time within reach does not stop an alert: then the minutes count as they
    pass.
    """
    minutes: int = team.times.due.technical if cls == "technical" else getattr(team.times.due, severity)
    return add_working(team, raised_at, minutes)


def add_working(team: Team, instant: datetime, minutes: int) -> datetime:
    """Working minutes of the team, or plain ones where its calendar has none within reach."""
    try:
        return team.calendar.add_working(instant, minutes)
    except NoWorkingTimeError as error:
        log.error("service_times.no_working_time", care_team=team.care_team, error=str(error))
        return instant + timedelta(minutes=minutes)


def working(team: Team, now: datetime) -> bool:
    """Whether the team works at this instant."""
    return team.calendar.is_open(now)


def outside_hours(team: Team, now: datetime) -> OutsideHours | None:
    """The team's message while it is closed; None while it works."""
    if working(team, now):
        return None
    try:
        opens = team.calendar.next_open(now)
    except NoWorkingTimeError:
        opens = now
    message = team.times.outside_hours
    return OutsideHours(message.fr, message.en, opens)


# ── settings in the database ──────────────────────────────────────────────────────────────────────────────

_TEAMS = """
select t.care_team, t.name, t.time_zone, s.document
  from scad.care_team t
  left join lateral (select document from scad.service_times s
                      where s.care_team = t.care_team order by version desc limit 1) s on true
 where %(team)s::text is null or t.care_team = %(team)s"""

_RECORD = """
insert into scad.service_times (care_team, version, document, recorded_at, recorded_by, reason)
select %(team)s, coalesce(max(version), 0) + 1, %(document)s::jsonb, %(at)s, %(by)s, %(reason)s
  from scad.service_times where care_team = %(team)s
returning version"""


class ServiceTimesError(ValueError):
    """Settings that cannot be used; the message names the team, the field and what is wrong."""


class SettingsMovedError(ServiceTimesError):
    """Somebody has set a later version meanwhile; `version` is that one."""

    def __init__(self, care_team: str, version: int) -> None:
        super().__init__(f"{care_team}: version {version} has been set meanwhile; look at it and repeat")
        self.version = version


def parse_service_times(raw: object, source: str) -> ServiceTimes:
    """Read one team's settings. Raises ServiceTimesError; `source` names them in its message."""
    try:
        return msgspec.convert(raw, ServiceTimes)
    except msgspec.ValidationError as error:
        raise ServiceTimesError(f"{source}: {error}") from None


def read_service_times(path: Path) -> dict[str, ServiceTimes]:
    """The teams of a TOML or JSON file with one table a team under `care_teams`. Raises ServiceTimesError,
    OSError."""
    try:
        decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
        document = decode(path.read_bytes())
    except (msgspec.DecodeError, ValueError) as error:
        raise ServiceTimesError(f"{path}: {error}") from None
    teams = document.get("care_teams") if isinstance(document, dict) else None
    if not isinstance(teams, dict) or set(document) != {"care_teams"}:
        raise ServiceTimesError(f"{path}: must have one table, care_teams, with the teams in it by name")
    return {team: parse_service_times(raw, f"{path}: care_teams.{team}") for team, raw in teams.items()}


def load_teams(conn: Connection, care_team: str | None = None) -> dict[str, Team]:
    """Every team, or the one that is named, with its settings."""
    rows = conn.execute(_TEAMS, {"team": care_team}).fetchall()
    return {str(row[0]): _team(*row) for row in rows}


async def load_teams_async(conn: AsyncConnection, care_team: str | None = None) -> dict[str, Team]:
    """As `load_teams`, on the connection of a service."""
    async with conn.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        await cursor.execute(_TEAMS, {"team": care_team})
        return {str(row[0]): _team(*row) for row in await cursor.fetchall()}


async def outside_hours_message(conn: AsyncConnection, team: str, now: datetime) -> OutsideHours | None:
    """What the page says while the team `team` is closed at `now`; None while it works or is not known."""
    found = (await load_teams_async(conn, team)).get(team)
    return None if found is None else outside_hours(found, now)


def record_service_times(
    conn: Connection,
    care_team: str,
    times: ServiceTimes,
    by: str,
    at: datetime,
    *,
    reason: str = "",
    base: int | None = None,
) -> int:
    """Make `times` what holds for the team from now on; returns the version. What is due already stays so.

    The same again changes nothing. `base`: the version that was in view (0: none), where somebody looked at one.
    Raises ServiceTimesError for a team that is not known, SettingsMovedError where `base` is not the last.
    """
    with conn.transaction():
        if not conn.execute(
            "select 1 from scad.care_team where care_team = %s for update", (care_team,)
        ).fetchone():
            raise ServiceTimesError(f"{care_team}: no such care team; enrol it first (scad enrol)")
        last = conn.execute(
            "select version, document from scad.service_times where care_team = %s"
            " order by version desc limit 1",
            (care_team,),
        ).fetchone()
        newest = int(last[0]) if last is not None else 0
        if base is not None and base != newest:
            raise SettingsMovedError(care_team, newest)
        document = msgspec.json.encode(times)
        if last is not None and last[1] == msgspec.json.decode(document):
            return newest
        values = {"team": care_team, "document": document.decode(), "at": at, "by": by, "reason": reason}
        row = conn.execute(_RECORD, values).fetchone()
        assert row is not None  # noqa: S101 - an insert that returns
        return int(row[0])


def _team(care_team: str, name: str, time_zone: str, document: Mapping[str, Any] | None) -> Team:
    """A team from its row. Settings that cannot be read must not stop its alerts: then the defaults hold."""
    if document is None:
        return Team(care_team, name, time_zone)
    try:
        return Team(care_team, name, time_zone, msgspec.convert(document, ServiceTimes))
    except msgspec.ValidationError as error:
        log.error("service_times.unreadable", care_team=care_team, error=str(error))
        return Team(care_team, name, time_zone)


# ── due times of alerts ───────────────────────────────────────────────────────────────────────────────────

# A milder or equal alert that nobody had answered leaves its due time to the one that replaces it: late data
# must not win time. Rows of the history have a due time as well, so that how alerts come in batches leaves no
# trace in the rows.
_WANTED = """
select a.alert, a.class, a.peak_severity, p.care_team, a.due_at,
       a.acknowledged_at is null and not (a.alert = any(%(raised)s::uuid[]))
           and scad.severity_rank(a.peak_severity) > scad.severity_rank(a.due_severity) as keeps,
       (select min(o.due_at) from scad.alert o
         where o.alert = any(a.supersedes) and o.acknowledged_at is null
           and scad.severity_rank(o.due_severity) <= scad.severity_rank(a.peak_severity)) as inherited
  from scad.alert a left join scad.patient p on p.patient = a.patient
 where a.alert = any(%(alerts)s::uuid[])
   and (a.due_severity is distinct from a.peak_severity
        or (a.alert = any(%(raised)s::uuid[]) and a.state not in ('resolved', 'false-alert', 'cleared', 'superseded')))
 order by a.alert"""

_SET = """
update scad.alert set due_at = %s, due_severity = %s, due_from = %s, outside_hours = %s where alert = %s"""


_LIVE = """
select alert::text from scad.alert
 where alert = any(%s::uuid[]) and state not in ('resolved', 'false-alert', 'cleared', 'superseded')"""


def live_alerts(conn: Connection, alerts: Collection[str]) -> set[str]:
    """Those of `alerts` that are in the database and not history. Asked before a change: what is live after it
    and was not before has been raised."""
    return {str(row[0]) for row in conn.execute(_LIVE, (list(alerts),)).fetchall()}


def set_due_times(conn: Connection, alerts: Collection[str], raised: Collection[str], now_ms: int) -> None:
    """Reckon the due times of those of `alerts` that need one, in the transaction that changed them.

    `raised` are those that have just been raised (again): their time begins now, as it does for one whose
    severity rose; an earlier due time that nobody has met stays. Nothing happens to the others.
    """
    wanted = {"alerts": list(alerts), "raised": list(raised)}
    rows = conn.execute(_WANTED, wanted).fetchall()
    if not rows:
        return
    now = to_datetime(now_ms)
    teams = load_teams(conn)
    changes = []
    for alert, cls, severity, care_team, before, keeps, inherited in rows:
        team = teams.get(care_team, NO_TEAM)
        bounds = [due_at(severity, now, team, cls), *([before] if keeps else []), inherited]
        due = min(bound for bound in bounds if bound is not None)
        changes.append((due, severity, now, not working(team, now), alert))
    with conn.cursor() as cursor:
        cursor.executemany(_SET, changes)


def escalates(team: Team, severity: Severity, cls: AlertClass) -> bool:
    """Whether an unanswered alert of this kind goes up the team's chain."""
    return cls == "clinical" and severity in team.times.escalate


def level_reached(team: Team, due: datetime, now: datetime) -> int:
    """How many steps of the chain an unanswered alert that was due at `due` has reached; 0: none."""
    reached = [step for step in team.times.steps if add_working(team, due, step.after) <= now]
    return len(reached)
