"""What the feed says, as JSON and to its own pages: one model for both, so that they cannot differ.

Instants are aware datetimes (RFC 3339 in JSON); numbers are in the kind's canonical unit (UCUM).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from alerts.lifecycle import Refusal

Severity = Literal["high", "medium", "low"]
AlertClass = Literal["clinical", "technical"]
Sex = Literal["female", "male", "unknown"]
AlertState = Literal[
    "open", "escalated", "acknowledged", "in-progress", "snoozed", "resolved", "false-alert", "cleared", "superseded"
]  # fmt: skip
WAITING: frozenset[str] = frozenset({"open", "escalated"})
"""States of an alert of which nobody has taken note."""
CLOSED: frozenset[str] = frozenset({"resolved", "false-alert", "cleared", "superseded"})

RANK: dict[str, int] = {"high": 3, "medium": 2, "low": 1}
NEVER = datetime.max.replace(tzinfo=UTC)


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Explanation(Model):
    """One plain sentence: what happened against which limit."""

    fr: str = ""
    en: str = ""


class Evidence(Model):
    """One reading that decided; `value` is what was compared, in canonical units."""

    device: str
    seq: int
    measured_at: datetime
    value: float | str | None = None
    epoch: int = 0
    kind: str = ""


class Alert(Model):
    """One alert as it stands: the engine's episode, and what people did with it."""

    alert: UUID
    patient: str
    protocol: str
    protocol_version: str
    rule: str
    class_: AlertClass = Field(alias="class")
    severity: Severity
    condition: Literal["raised", "cleared"]
    state: AlertState
    opened_at: datetime
    last_at: datetime
    cleared_at: datetime | None = None
    reason: str | None = None
    late: bool
    value: float | None = None
    limit: float | None = None
    unit: str | None = None
    explanation: Explanation
    evidence: list[Evidence] = []
    supersedes: list[UUID] = []
    superseded_by: UUID | None = None
    acknowledged_by: str | None = None
    acknowledged_name: str | None = None
    acknowledged_at: datetime | None = None
    assignee: str | None = None
    assignee_name: str | None = None
    started_by: str | None = None
    started_at: datetime | None = None
    snoozed_until: datetime | None = None
    snooze_reason: str | None = None
    outcome: str | None = None
    false_reason: str | None = None
    closed_by: str | None = None
    closed_name: str | None = None
    closed_at: datetime | None = None
    escalation_level: int = 0
    escalated_at: datetime | None = None
    due_at: datetime | None = None
    outside_hours: bool = Field(default=False, description="It came while its care team was closed.")
    inhibited_by: UUID | None = Field(
        default=None, description="The graver alert that shows this one inside."
    )
    version: int = Field(default=1, description="Send it with an action: a later one is refused (409).")
    changed_at: datetime

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @computed_field(description="Nobody has acknowledged it, and it is still in the queue.")  # type: ignore[prop-decorator]
    @property
    def open(self) -> bool:
        return self.waiting

    @computed_field(  # type: ignore[prop-decorator]
        description="It asks for attention: clinical, high, not late, open, and its condition holds."
    )
    @property
    def ringing(self) -> bool:
        return (
            self.waiting
            and self.condition == "raised"
            and self.severity == "high"
            and self.class_ == "clinical"
            and not self.late
        )

    @property
    def waiting(self) -> bool:
        """Nobody has taken note of it."""
        return self.state in WAITING

    @property
    def live(self) -> bool:
        """It is no history yet."""
        return self.state not in CLOSED

    @property
    def holder(self) -> str | None:
        """Login of who is on it: whom it was given to, else who took note of it."""
        return self.assignee or self.acknowledged_by

    @property
    def holder_name(self) -> str | None:
        return (self.assignee_name or self.assignee) if self.assignee else self.acknowledged_name

    @property
    def bulk(self) -> bool:
        """It may be acknowledged together with others: never a high one."""
        return self.waiting and self.severity != "high"

    @property
    def due_in_order(self) -> datetime:
        """Until when somebody has to take note of it; the end of time where nothing is due any more."""
        return self.due_at if self.waiting and self.due_at is not None else NEVER

    @property
    def order(self) -> tuple[int, bool, datetime, datetime, str]:
        """Gravest first, then what nobody has taken note of, then time left, then the oldest."""
        return (-RANK[self.severity], not self.waiting, self.due_in_order, self.opened_at, str(self.alert))


class AlertEvent(Model):
    """One step in an alert's life: a signal of the engine, or somebody's action. Never changed."""

    id: int
    at: datetime
    recorded_at: datetime
    patient: str
    alert: UUID | None
    rule: str | None = None
    kind: Literal["signal", "action"]
    event: str
    actor: str
    actor_name: str | None = None
    severity: Severity | None = None
    body: dict[str, Any] = {}


class LastReading(Model):
    """The last value of one kind, by when it was measured."""

    kind: str
    value: float | None
    second: float | None = Field(default=None, description="Diastolic pressure beside systolic.")
    unit: str
    measured_at: datetime
    received_at: datetime
    late: bool = Field(description="It arrived more than 24 hours after it was measured.")


class Person(Model):
    """Who the patient is. Names come from the identity schema and reach pages and answers only."""

    patient: str
    care_team: str
    team_name: str
    time_zone: str
    family_name: str | None = None
    given_names: str | None = None
    birth_date: date | None = None
    sex: Sex = "unknown"
    phone: str | None = None


class Adherence(Model):
    """How many of the scheduled measurements were taken in the last 14 days."""

    kind: str
    done: int
    expected: int


class OfflineDevice(Model):
    """A device of the patient that said it is offline, or whose connection the broker saw end."""

    device: str
    model: str | None
    since: datetime


class QueueRow(Model):
    """One patient with the alerts that stand, in the order of the page."""

    person: Person
    alerts: list[Alert]
    inhibited: list[Alert] = Field(default=[], description="Milder alerts, each shown inside `inhibited_by`.")
    last: list[LastReading] = []
    adherence: list[Adherence] = []
    offline: list[OfflineDevice] = []

    def kin(self, alert: Alert) -> list[Alert]:
        """The alerts that this one shows inside."""
        return [other for other in self.inhibited if other.inhibited_by == alert.alert]

    @property
    def adherence_total(self) -> tuple[int, int]:
        """Readings taken and scheduled, of all kinds."""
        return sum(a.done for a in self.adherence), sum(a.expected for a in self.adherence)

    @property
    def patient(self) -> str:
        return self.person.patient


class Counts(Model):
    """Standing alerts that this person may see, by class and severity; `open` are not acknowledged yet."""

    high: int = 0
    medium: int = 0
    low: int = 0
    technical: int = 0
    open: int = 0
    ringing: int = 0
    snoozed: int = 0
    overdue: int = 0


class PathState(Model):
    """What the last synthetic reading says of the way from a device to this page; seconds of the wall's time."""

    age_s: float = Field(description="Since it was measured.")
    round_trip_s: float = Field(description="From the device until it was stored.")
    stalled: bool


class Queue(Model):
    """The live queue. `cursor` is where `/api/stream?after=` goes on without missing or doubling anything."""

    now: datetime
    cursor: int
    current_to: datetime | None = Field(
        description="The page has everything that was measured and sent until then, by the last synthetic reading;"
        " without one, when the last reading of a patient was received."
    )
    path: PathState | None = None
    counts: Counts
    clinical: list[QueueRow]
    technical: list[QueueRow]
    clinical_total: int
    technical_total: int


class Device(Model):
    """A device and since when the patient has it; status is what it last said of itself."""

    device: str
    model: str | None
    from_at: datetime
    to_at: datetime | None
    state: str | None = None
    battery: int | None = None
    status_at: datetime | None = None


class PlanSummary(Model):
    """The care plan in force."""

    version: int
    from_at: datetime
    author: str
    document: dict[str, Any]


class PatientPage(Model):
    """One patient: who, with what devices and care plan, and every alert with its history."""

    now: datetime
    person: Person
    devices: list[Device]
    plan: PlanSummary | None
    last: list[LastReading]
    standing: list[Alert]
    history: list[Alert]
    events: list[AlertEvent]


class ReadingOut(Model):
    """One stored reading, with the contract's names."""

    device: str
    epoch: int
    seq: int
    kind: str
    measured_at: datetime
    received_at: datetime
    value: float | None
    values: dict[str, Any]
    flags: list[str]
    context: dict[str, str]
    marks: list[str] = Field(description="Artefact gates that the reading failed.")
    too_late: bool


class Readings(Model):
    """Readings in the order of measurement. With `truncated`, ask again from the last one's instant."""

    patient: str
    from_: datetime = Field(alias="from")
    to: datetime
    truncated: bool
    readings: list[ReadingOut]

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class DecidingReading(Evidence):
    """A reading that decided. `received_at` is null for one that is not stored (yet)."""

    unit: str
    received_at: datetime | None = None


class Baseline(Model):
    """What was usual for the patient when the alert's last reading was measured, had anew from stored readings.

    `centre` in `unit` is what the reading was compared with: the median of the daily means of up to 28 days, a
    morning's or an evening's for blood pressure; for a moving average the mean. `scale` is the patient's own scatter
    (one standard deviation), null for a moving average.
    """

    kind: str
    unit: str
    centre: float
    scale: float | None
    session: Literal["morning", "evening"] | None = None
    readings: int = Field(description="Readings that it was learnt from, on `days` days.")
    days: int
    first_day: date
    last_day: date


class Basis(Model):
    """Why there is this alert: what a person needs to check it."""

    protocol: str
    protocol_version: str
    rule: str
    source: str | None = Field(description="Where the rule's figures are from.")
    page: str | None = Field(description="The rule's page in SCAD's documentation.")
    plan_version: int | None = Field(description="The care plan's version in force at the last reading.")
    value: float | None
    limit: float | None
    unit: str | None
    evidence: list[DecidingReading]
    baseline: Baseline | None


class AlertDetail(Model):
    """An alert with what it rests on and everything that happened to it, the latest step first."""

    alert: Alert
    basis: Basis
    events: list[AlertEvent]


class Alerts(Model):
    """Alerts, latest first. `next` is the value of `before` for the following page, null on the last."""

    alerts: list[Alert]
    next: str | None


class Acknowledged(Model):
    """The alert after the action."""

    alert: Alert


class Conflict(Model):
    """Why an action was refused (409): somebody was quicker, or the alert no longer stands."""

    error: Refusal
    by: str | None = Field(description="Who brought the alert into its state.")
    at: datetime | None
    alert: Alert


class Session(Model):
    """Who is logged in. Send `csrf_token` as header X-CSRF-Token with every write."""

    login: str
    display_name: str
    role: str
    care_teams: list[str] | None = Field(description="null: all")
    csrf_token: str
    expires_at: datetime
    now: datetime
