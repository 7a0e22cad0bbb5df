"""Random people, clocks, redeliveries and late data against the database and against the pure functions.

After every step: no illegal history, no lost alert, no alert that rings twice, every hidden alert with a reason.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

import psycopg
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg.rows import dict_row

from alerts import absence
from alerts.actions import Done, act, act_in_bulk, pass_time
from alerts.inhibition import NO_READING, problem_of, stands
from alerts.lifecycle import (
    CLOSED,
    EVENTS,
    FALSE_REASONS,
    OUTCOMES,
    QUEUED,
    REFUSED,
    SNOOZE_MAX_MS,
    ActionRequest,
    Decided,
    Refused,
    decide,
    settled_state,
)
from alerts.row import FACTS, AlertRow
from alerts.store import standing_episodes, write_signals
from alerts.store.connection import Connection
from alerts.store.rows import SELECT, from_record
from devices.times import format_instant, parse_instant, to_datetime
from streams.signal import AlertSignal, StandingEpisode, fold

T0 = parse_instant("2026-03-01T08:00:00Z")[0]
MINUTE, HOUR = 60_000, 3_600_000
RULES = {  # two kin, a third of the same problem, a stranger, and the legal one
    "weight-gain-3d": "clinical",
    "weight-gain-1d": "clinical",
    "composite": "clinical",
    "bp-low": "clinical",
    NO_READING: "technical",
}
EVENT_OF = {event: action for action, event in EVENTS.items()}
COMPLETE: dict[str, dict[str, Any]] = {
    "acknowledge": {},
    "start": {},
    "snooze": {"reason": "calls back"},
    "resolve": {"outcome": OUTCOMES[0], "reason": "calls back"},
    "false-alert": {"reason": FALSE_REASONS[0]},
}
"""Actions that can be taken back, with what they need."""
numbers = count()
T = TypeVar("T")

severities = st.sampled_from(["low", "medium", "high"])
rules_ = st.sampled_from(sorted(RULES))
logins = st.sampled_from(["anne", "paul"])


def facts_of_people(row: AlertRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*FACTS, "state") if name != "last_action"}


class Ward(RuleBasedStateMachine):
    """One patient: an engine that speaks, a network that repeats and reorders, two nurses, a clock."""

    conn: Connection
    aconn: psycopg.AsyncConnection[Any]
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.number, self.made = next(numbers), 0
        self.patient = f"p-{self.number}"
        self.conn.execute(
            "insert into scad.care_team values ('caen', 'Caen') on conflict do nothing;"
            "insert into scad.account (login, display_name, password_hash, role, care_team, created_at)"
            " values ('anne', 'A', '$argon2id$', 'nurse', 'caen', now()),"
            "        ('paul', 'P', '$argon2id$', 'nurse', 'caen', now()) on conflict do nothing"
        )
        self.conn.execute("insert into scad.patient values (%s, 'caen', now())", (self.patient,))
        self.now = T0
        self.n = 0
        self.open: dict[str, AlertSignal] = {}
        self.ended: dict[str, AlertSignal] = {}
        self.waiting: list[AlertSignal] = []
        self.delivered: dict[int, AlertSignal] = {}
        self.ancestors: dict[str, set[str]] = {}
        self.seen_events = 0
        self.rung: dict[str, str] = {}
        self.versions: dict[str, int] = {}

    # ── the engine ──────────────────────────────────────────────────────────────────────────────────────

    def new_alert(self) -> str:
        """In the order of making, in every run: the order of alerts breaks ties."""
        self.made += 1
        return str(uuid.UUID(int=self.number << 64 | self.made))

    def say(self, name: str, state: str, alert: str, severity: Any, **more: Any) -> AlertSignal:
        self.n += 1
        at = format_instant(more.pop("at_ms", self.now))
        signal = AlertSignal(
            alert=alert, patient=self.patient, protocol="heart-failure", protocol_version="2026.1", rule=name,
            cls=RULES[name], severity=severity, state=state, at=at, explanation={"fr": "", "en": ""}, n=self.n,
            **more,
        )  # fmt: skip
        self.waiting.append(signal)
        return signal

    @rule(name=rules_, severity=severities, late=st.booleans())
    def condition_begins_or_goes_on(self, name: str, severity: str, late: bool) -> None:
        if name in self.open:
            self.open[name] = self.say(name, "updated", self.open[name].alert, severity)
        else:
            self.open[name] = self.say(name, "raised", self.new_alert(), severity, late=late)
        self.deliver_all()

    @rule(name=rules_)
    def condition_ends(self, name: str) -> None:
        if name in self.open:
            before = self.open.pop(name)
            self.ended[name] = self.say(name, "cleared", before.alert, before.severity)
            self.deliver_all()

    @rule(name=rules_, severity=severities, hours=st.integers(1, 20))
    def late_data_moves_an_episode(self, name: str, severity: str, hours: int) -> None:
        old = self.open.pop(name, None) or self.ended.pop(name, None)
        if old is None:
            return
        self.say(name, "cleared", old.alert, old.severity, reason="late-data")
        new = self.new_alert()
        self.ancestors[new] = {old.alert, *self.ancestors.get(old.alert, ())}
        self.open[name] = self.say(
            name, "raised", new, severity, supersedes=(old.alert,), at_ms=self.now - hours * HOUR
        )
        self.deliver_all()

    @rule(name=rules_)
    def late_data_takes_an_episode_away(self, name: str) -> None:
        old = self.open.pop(name, None)
        if old is not None:
            self.say(name, "cleared", old.alert, old.severity, reason="late-data")
            self.deliver_all()

    # ── the network ─────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, signals: list[AlertSignal]) -> None:
        write_signals(self.conn, signals, self.now)
        for signal in signals:
            self.delivered[signal.n] = signal

    def deliver_all(self) -> None:
        self.deliver(self.waiting)
        self.waiting = []

    @rule(name=rules_, severity=severities, data=st.data())
    def a_burst_comes_in_any_order(self, name: str, severity: str, data: st.DataObject) -> None:
        alert = self.open.pop(name, None)
        if alert is None:
            alert = self.say(name, "raised", self.new_alert(), severity)
        self.say(name, "updated", alert.alert, severity)
        self.ended[name] = self.say(name, "cleared", alert.alert, severity)
        for signal in data.draw(st.permutations(self.waiting)):
            self.deliver([signal])
        self.waiting = []

    @rule(data=st.data())
    def the_network_repeats(self, data: st.DataObject) -> None:
        if self.delivered:
            chosen = st.lists(st.sampled_from(sorted(self.delivered)), min_size=1, max_size=5)
            before = self.rows(), self.events()
            write_signals(self.conn, [self.delivered[n] for n in data.draw(chosen)], self.now)
            assert (self.rows(), self.events()) == before

    # ── people and time ─────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), action=st.sampled_from(sorted(EVENTS)), by=logins, seen=st.booleans())
    def somebody_acts(self, data: st.DataObject, action: Any, by: str, seen: bool) -> None:
        rows = self.rows()
        if not rows:
            return
        row = rows[data.draw(st.sampled_from(sorted(rows)))]
        request = ActionRequest(
            action=action,
            version=row.version if seen else data.draw(st.sampled_from([None, 0])),
            note=data.draw(st.sampled_from([None, "no answer"])),
            reason=data.draw(st.sampled_from([None, "calls back", FALSE_REASONS[0]])),
            until=data.draw(st.sampled_from([None, self.now + HOUR, self.now + SNOOZE_MAX_MS + 1])),
            outcome=data.draw(st.sampled_from([None, OUTCOMES[0]])),
            to=data.draw(st.sampled_from([None, "anne", "paul", "nobody"])),
        )
        expected = decide(row, request, by, self.now)
        result = self.run(act(self.aconn, uuid.UUID(row.alert), request, by, to_datetime(self.now)))
        note(f"{action} {row.state} -> {result.event if isinstance(result, Done) else result.refusal}")
        if action == "assign" and request.to == "nobody":
            assert isinstance(result, Refused)
            assert result.refusal == "unknown-assignee"
        elif isinstance(expected, Decided):
            assert isinstance(result, Done)
            after = self.rows()[row.alert]
            for name in (*FACTS, "state"):
                assert getattr(after, name) == getattr(expected.row, name), name
        else:
            assert result == expected

    @rule(
        data=st.data(), actions=st.lists(st.sampled_from(sorted(COMPLETE)), min_size=2, max_size=4), by=logins
    )
    def somebody_acts_and_takes_it_all_back(self, data: st.DataObject, actions: list[Any], by: str) -> None:
        rows = self.rows()
        if not rows:
            return
        which = data.draw(st.sampled_from(sorted(rows)))
        before = []
        for action in actions:
            row = self.rows()[which]
            fields = COMPLETE[action] | ({"until": self.now + HOUR} if action == "snooze" else {})
            request = ActionRequest(action=action, **fields)
            result = self.run(act(self.aconn, uuid.UUID(which), request, by, to_datetime(self.now)))
            if isinstance(result, Done) and facts_of_people(result.row) != facts_of_people(row):
                before.append(
                    (action, facts_of_people(row))
                )  # a snooze in the words of the last changes nothing
        for action, facts in reversed(before):
            request = ActionRequest(action="undo", undoes=action)
            result = self.run(act(self.aconn, uuid.UUID(which), request, by, to_datetime(self.now)))
            assert isinstance(result, Done)
            assert facts_of_people(self.rows()[which]) == facts

    @rule(by=logins)
    def somebody_acknowledges_everything_at_once(self, by: str) -> None:
        rows = self.rows()
        request = ActionRequest(action="acknowledge", note="called")
        asked = [uuid.UUID(alert) for alert in rows]
        results = self.run(act_in_bulk(self.aconn, asked, request, by, to_datetime(self.now)))
        assert set(results) == set(asked)
        for which, result in results.items():
            if isinstance(result, Done):
                assert result.row.severity != "high"
            elif rows[str(which)].severity == "high":
                assert result.refusal == "high-in-bulk"

    @rule(minutes=st.sampled_from([1, 30, 240, 721, 1500]))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * MINUTE
        while self.run(pass_time(self.aconn, to_datetime(self.now))):
            pass

    @rule(kind=st.sampled_from(absence.KINDS), hours=st.integers(1, 48), ahead=st.integers(0, 5), by=logins)
    def an_absence_is_planned(self, kind: Any, hours: int, ahead: int, by: str) -> None:
        begin = self.now + ahead * HOUR
        at = to_datetime(self.now)
        end = to_datetime(begin + hours * HOUR)
        self.run(absence.record(self.aconn, self.patient, kind, to_datetime(begin), end, by, at))

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────

    def rows(self) -> dict[str, AlertRow]:
        with self.conn.cursor(row_factory=dict_row) as cursor:
            cursor.execute(f"{SELECT} from scad.alert where patient = %s".encode(), (self.patient,))
            return {row.alert: row for row in map(from_record, cursor)}

    def events(self) -> list[dict[str, Any]]:
        with self.conn.cursor(row_factory=dict_row) as cursor:
            cursor.execute(
                "select id, alert::text, kind, n, event, actor, body from scad.alert_event"
                " where patient = %s order by id",
                (self.patient,),
            )
            return cursor.fetchall()

    @invariant()
    def the_episodes_are_those_of_the_engine(self) -> None:
        if not hasattr(self, "patient"):
            return
        standing: dict[str, StandingEpisode] = {}
        for _, signal in sorted(self.delivered.items()):
            fold(standing, signal)
        found = {e.alert: (e.severity, e.end is None) for e in standing_episodes(self.conn, self.patient)}
        assert found == {e.alert: (e.severity, e.end is None) for e in standing.values()}

    @invariant()
    def no_alert_is_lost(self) -> None:
        if not hasattr(self, "patient"):
            return
        rows = self.rows()
        queue = {
            str(alert)
            for (alert,) in self.conn.execute(
                "select alert from scad.queue where patient = %s", (self.patient,)
            ).fetchall()
        }
        for alert, row in rows.items():
            assert row.state == settled_state(row)
            if row.condition == "raised" and row.state in CLOSED:
                assert row.state == "superseded" or row.closed_by is not None
            assert (alert in queue) == (row.state in QUEUED and not row.hidden)
            if row.hidden:
                self.is_hidden_for_a_reason(row, rows)
            if row.rule == NO_READING:
                assert not row.hidden

    def is_hidden_for_a_reason(self, row: AlertRow, rows: dict[str, AlertRow]) -> None:
        assert stands(row)
        if row.inhibited_by is not None:
            lead = rows[row.inhibited_by]
            assert stands(lead)
            assert not lead.hidden
            assert problem_of(lead.rule) == problem_of(row.rule)
        else:
            assert row.suppressed_until is not None
            if row.suppressed == "refractory":
                assert row.severity != "high"

    @invariant()
    def history_is_legal_and_nothing_rings_twice(self) -> None:
        if not hasattr(self, "patient"):
            return
        rows, events = self.rows(), self.events()
        for event in events[self.seen_events :]:
            action = EVENT_OF.get(event["event"]) if event["kind"] == "action" else None
            if action is not None:
                assert action not in REFUSED[event["body"]["before"]]
            row = rows[event["alert"]]
            if (event["n"] is not None and event["n"] == row.rang_n) or event["body"].get("ring"):
                self.rings(row)
        self.seen_events = len(events)
        for alert, row in rows.items():
            assert row.version >= self.versions.get(alert, 1)
            self.versions[alert] = row.version

    def rings(self, row: AlertRow) -> None:
        assert row.cls == "clinical"
        assert row.alert not in self.rung
        for ancestor in self.ancestors.get(row.alert, ()):
            assert ancestor not in self.rung
        self.rung[row.alert] = row.severity


def test_random_people_clocks_and_deliveries_neither_lose_an_alert_nor_ring_twice(store: Connection) -> None:
    loop = asyncio.new_event_loop()
    try:
        info = store.info
        opening = psycopg.AsyncConnection.connect(info.dsn, password=info.password, autocommit=True)
        aconn = loop.run_until_complete(opening)
        Ward.conn, Ward.aconn, Ward.loop = store, aconn, loop
        run_state_machine_as_test(
            Ward,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        loop.run_until_complete(aconn.close())
    finally:
        loop.close()
