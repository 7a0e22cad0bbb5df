"""The table of transitions, walked through: every state, action, refusal, outcome and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import HOUR, MINUTE, T0, made

from alerts.lifecycle import (
    ACTIONS,
    ESCALATION_MAX,
    FALSE_REASONS,
    OUTCOMES,
    REFUSALS,
    REFUSED,
    SNOOZE_MAX_MS,
    STATES,
    Action,
    ActionRequest,
    Decided,
    Refused,
    decide,
    settled_state,
)
from alerts.row import FACTS, AlertRow
from alerts.undoing import UNDO_MAX

NOW = T0 + HOUR

COMPLETE: dict[str, dict[str, Any]] = {
    "acknowledge": {},
    "start": {},
    "assign": {"to": "paul"},
    "snooze": {"reason": "calls back at noon", "until": NOW + 3 * HOUR},
    "wake": {},
    "resolve": {"outcome": "advice", "reason": "takes an extra tablet today"},
    "false-alert": {"reason": "technique"},
    "note": {"note": "no answer"},
    "escalate": {},
    "undo": {},
}
"""Each action with everything that it needs."""


def request(action: Any, **fields: Any) -> ActionRequest:
    return ActionRequest(action=action, **{**COMPLETE[action], **fields})


def after(row: AlertRow, *actions: str, by: str = "anne", at: int = NOW) -> AlertRow:
    for action in actions:
        decided = decide(row, request(action), by, at)
        assert isinstance(decided, Decided), (row.state, action, decided)
        row = decided.row
    return row


def row_in(state: str) -> AlertRow:
    """A high alert that was brought into `state`, with an action that can be undone where a person did it."""
    ways: dict[str, AlertRow] = {
        "open": after(made(), "assign"),
        "escalated": after(made(), "assign", "escalate"),
        "acknowledged": after(made(), "acknowledge"),
        "in-progress": after(made(), "start"),
        "snoozed": after(made(), "snooze"),
        "resolved": after(made(), "resolve"),
        "false-alert": after(made(), "false-alert"),
        "cleared": after(made(condition="cleared", cleared_at=T0 + MINUTE), "acknowledge"),
        "superseded": made(superseded_by=made("b").alert),
    }
    assert ways[state].state == state
    return ways[state]


TABLE = """
state        acknowledge           start            assign      snooze   wake         resolve   false-alert  note         escalate              undo
open         acknowledged          in-progress      open        snoozed  not-snoozed  resolved  false-alert  open         escalated             open
escalated    acknowledged          in-progress      escalated   snoozed  not-snoozed  resolved  false-alert  escalated    escalated             escalated
acknowledged already-acknowledged  in-progress      acknowledged snoozed not-snoozed  resolved  false-alert  acknowledged already-acknowledged  open
in-progress  already-acknowledged  already-started  in-progress snoozed  not-snoozed  resolved  false-alert  in-progress  already-acknowledged  open
snoozed      acknowledged          in-progress      snoozed     snoozed  open         resolved  false-alert  snoozed      snoozed               open
resolved     closed                closed           closed      closed   closed       closed    closed       resolved     closed                open
false-alert  closed                closed           closed      closed   closed       closed    closed       false-alert  closed                open
cleared      closed                closed           closed      closed   closed       resolved  false-alert  cleared      closed                open
superseded   superseded            superseded       superseded  superseded superseded superseded superseded  superseded   superseded            superseded
"""  # noqa: E501
"""What each action makes of each state: the new state, or the name of the refusal."""


def cells() -> list[tuple[str, str, str]]:
    lines = [line.split() for line in TABLE.strip().splitlines()]
    return [(line[0], action, line[1 + i]) for line in lines[1:] for i, action in enumerate(lines[0][1:])]


@pytest.mark.parametrize(("state", "action", "expected"), cells())
def test_every_action_in_every_state_does_what_the_table_says(state: str, action: Any, expected: str):
    row = row_in(state)
    if (state, action) == ("in-progress", "assign"):
        row.assignee = None
    result = decide(row, request(action, **({"to": "marie"} if action == "assign" else {})), "paul", NOW)
    if isinstance(result, Refused):
        assert result.refusal == expected
        assert REFUSED[state][action] == expected  # type: ignore[index]
    else:
        assert result.row.state == expected == settled_state(result.row)
        assert action not in REFUSED[state]  # type: ignore[index]


def test_the_table_has_every_state_and_every_action():
    assert {(state, action) for state, action, _ in cells()} == {(s, a) for s in STATES for a in ACTIONS}
    assert set(REFUSED) == set(STATES)
    assert {row_in(state).state for state in STATES} == set(STATES)


CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("open", "snooze", {"until": None}, "until-needed"),
    ("open", "snooze", {"until": NOW}, "until-past"),
    ("open", "snooze", {"until": NOW + SNOOZE_MAX_MS + 1}, "snooze-too-long"),
    ("open", "snooze", {"reason": "  "}, "reason-needed"),
    ("open", "resolve", {"outcome": None}, "outcome-needed"),
    ("open", "resolve", {"outcome": "went-well"}, "outcome-unknown"),
    ("open", "resolve", {"reason": None}, "condition-holds"),
    ("open", "resolve", {"reason": " "}, "condition-holds"),
    ("open", "false-alert", {"reason": None}, "reason-needed"),
    ("open", "false-alert", {"reason": "annoying"}, "reason-unknown"),
    ("open", "note", {"note": None}, "note-needed"),
    ("open", "note", {"note": "\n"}, "note-needed"),
    ("open", "assign", {"to": "paul"}, "already-assigned"),
    ("acknowledged", "assign", {"to": ""}, "not-assigned"),
    ("acknowledged", "start", {"version": 77}, "stale"),
]


@pytest.mark.parametrize(("state", "action", "fields", "refusal"), CASES)
def test_what_an_action_needs_is_asked_for_by_name(
    state: str, action: str, fields: dict[str, Any], refusal: str
):
    result = decide(row_in(state), request(action, **fields), "paul", NOW)
    assert isinstance(result, Refused)
    assert result.refusal == refusal


def test_every_refusal_is_reached():
    here = {refusal for *_, refusal in CASES} | {r for row in REFUSED.values() for r in row.values()}
    here |= {"nothing-to-undo", "highest-level", "held-back"}  # each has a test of its own below
    in_the_database = {"unknown", "unknown-assignee", "not-in-bulk", "high-in-bulk"}
    assert here | in_the_database == set(REFUSALS)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_resolves(outcome: str):
    result = decide(made(), request("resolve", outcome=outcome), "anne", NOW)
    assert isinstance(result, Decided)
    assert (result.row.outcome, result.row.closed_by, result.body["outcome"]) == (outcome, "anne", outcome)


@pytest.mark.parametrize("reason", FALSE_REASONS)
def test_every_reason_of_a_false_alert_closes_it(reason: str):
    result = decide(made(), request("false-alert", reason=reason), "anne", NOW)
    assert isinstance(result, Decided)
    assert (result.row.false_reason, result.row.outcome, result.row.state) == (reason, None, "false-alert")


def test_a_snooze_of_exactly_a_day_is_allowed():
    result = decide(made(), request("snooze", until=NOW + SNOOZE_MAX_MS), "anne", NOW)
    assert isinstance(result, Decided)


def test_resolving_once_the_condition_is_over_needs_no_reason():
    row = made(condition="cleared", cleared_at=T0 + MINUTE)
    result = decide(row, request("resolve", reason=None), "anne", NOW)
    assert isinstance(result, Decided)


def test_a_refusal_says_who_made_it_so_and_when():
    for state, by in (
        ("acknowledged", "anne"),
        ("in-progress", "anne"),
        ("resolved", "anne"),
        ("snoozed", "anne"),
    ):
        action: Action = "escalate" if state == "snoozed" else "acknowledge"
        result = decide(row_in(state), request(action), "paul", NOW + HOUR)
        assert isinstance(result, Refused)
        assert (result.by, result.at) == (by, NOW)


def test_what_the_state_refuses_comes_before_a_stale_version():
    result = decide(row_in("resolved"), request("acknowledge", version=77), "paul", NOW)
    assert isinstance(result, Refused)
    assert result.refusal == "closed"


def test_the_row_that_is_decided_on_is_not_changed():
    row = made()
    copy = msgspec.structs.replace(row)
    after(row, "acknowledge")
    assert row == copy


def test_escalation_ends_at_the_highest_level_and_leaves_hidden_alerts_alone():
    row = after(made(), *["escalate"] * ESCALATION_MAX)
    assert row.escalation_level == ESCALATION_MAX
    refused = decide(row, request("escalate"), "escalation", NOW)
    hidden = decide(made(inhibited_by=made("b").alert), request("escalate"), "escalation", NOW)
    assert isinstance(refused, Refused)
    assert isinstance(hidden, Refused)
    assert (refused.refusal, hidden.refusal) == ("highest-level", "held-back")


def facts(row: AlertRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*FACTS, "state") if name != "last_action"}


@pytest.mark.parametrize("action", ["acknowledge", "start", "assign", "snooze", "resolve", "false-alert"])
def test_an_undo_brings_every_fact_back_and_the_action_can_be_done_again(action: str):
    before = after(made(), "escalate")
    done = after(before, action)
    undone = after(done, "undo", by="paul", at=NOW + MINUTE)
    assert facts(undone) == facts(before)
    assert isinstance(decide(undone, request("undo"), "paul", NOW), Refused)
    assert facts(after(undone, action)) == facts(done)


def test_an_acknowledgement_under_a_start_is_taken_back_by_a_second_undo():
    row = after(made(), "acknowledge", "start")
    states = [row.state, after(row, "undo").state, after(row, "undo", "undo").state]
    assert states == ["in-progress", "acknowledged", "open"]
    refused = decide(after(row, "undo", "undo"), request("undo"), "anne", NOW)
    assert isinstance(refused, Refused)
    assert refused.refusal == "nothing-to-undo"


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(
            ["acknowledge", "start", "assign", "snooze", "wake", "resolve", "false-alert", "note"]
        ),
        st.sampled_from(["anne", "paul"]),
    ),
    max_size=2 * UNDO_MAX,
)


@given(people=PEOPLE)
def test_whatever_people_did_is_taken_back_step_by_step_as_far_as_the_bound(people: list[tuple[str, str]]):
    row, before = made(), []
    for number, (action, by) in enumerate(people):
        wanted = request(action, **({"to": f"nurse-{number}"} if action == "assign" else {}))
        decided = decide(row, wanted, by, NOW + number)
        if isinstance(decided, Decided):
            before += [(action, by, facts(row))] if action != "note" else []
            row = decided.row
    for action, by, was in reversed(before[-UNDO_MAX:]):
        undone = decide(row, request("undo", undoes=action), "marie", NOW + HOUR)
        assert isinstance(undone, Decided)
        assert (undone.body["undoes"], undone.body["undoes_by"]) == (action, by)
        row = undone.row
        assert facts(row) == was
    last = decide(row, request("undo"), "marie", NOW + HOUR)
    assert isinstance(last, Refused)
    assert last.refusal == "nothing-to-undo"


def test_who_means_to_take_back_another_step_than_the_newest_is_told_who_was_quicker():
    row = after(after(made(), "acknowledge"), "start", by="paul", at=NOW + MINUTE)
    refused = decide(row, request("undo", undoes="acknowledge"), "anne", NOW + HOUR)
    assert isinstance(refused, Refused)
    assert (refused.refusal, refused.by, refused.at) == ("stale", "paul", NOW + MINUTE)
    # of two who take the same step back, the second finds it gone
    refused = decide(after(row, "undo", by="marie"), request("undo", undoes="start"), "anne", NOW + HOUR)
    assert isinstance(refused, Refused)
    assert (refused.refusal, refused.by) == ("stale", "marie")


def test_a_snooze_that_time_has_ended_does_not_keep_what_was_done_before_it_from_an_undo():
    woken = decide(after(made(), "acknowledge", "snooze"), request("wake"), "clock", NOW + 3 * HOUR)
    assert isinstance(woken, Decided)
    assert after(woken.row, "undo").state == "open"


def test_an_undo_of_an_older_release_is_done_again_by_an_undo():
    row = after(made(), "acknowledge")
    assert row.last_action is not None
    turned = {name: [new, old] for name, (old, new) in row.last_action["changes"].items()}
    row = after(row, "undo")
    row.last_action = {"action": "undo", "by": "anne", "at": NOW, "changes": turned}
    assert after(row, "undo").state == "acknowledged"


def test_an_undo_names_what_it_undoes_and_whose_it_was():
    result = decide(after(made(), "resolve"), request("undo"), "paul", NOW + MINUTE)
    assert isinstance(result, Decided)
    said = [result.body[name] for name in ("undoes", "undoes_by", "undoes_at")]
    assert (result.event, said) == ("undone", ["resolve", "anne", NOW])


def test_there_is_nothing_to_undo_before_anybody_acted_nor_after_time_has_overtaken_it():
    woken = decide(row_in("snoozed"), request("wake"), "clock", NOW + 3 * HOUR)
    assert isinstance(woken, Decided)
    for row in (made(), woken.row):
        result = decide(row, request("undo"), "anne", NOW + 4 * HOUR)
        assert isinstance(result, Refused)
        assert result.refusal == "nothing-to-undo"


def test_notes_and_escalations_are_not_what_an_undo_takes_back():
    row = after(made(), "assign", "note", "escalate")
    assert after(row, "undo").assignee is None
    assert after(row, "undo").escalation_level == 1


SETTLED: list[tuple[str, dict[str, Any], str]] = [
    ("a high alert latches", {"condition": "cleared", "cleared_at": T0 + MINUTE}, "open"),
    ("a medium one does not", {"severity": "medium", "condition": "cleared", "cleared_at": T0}, "cleared"),
    ("a low one does not", {"severity": "low", "condition": "cleared", "cleared_at": T0}, "cleared"),
    ("a technical one does not", {"cls": "technical", "condition": "cleared", "cleared_at": T0}, "cleared"),
    (
        "one long past when it became known does not",
        {"condition": "cleared", "cleared_at": T0 - HOUR},
        "cleared",
    ),
    (
        "what had no cause is history",
        {"condition": "cleared", "cleared_at": T0, "reason": "late-data"},
        "cleared",
    ),
    (
        "one that was high latches though it ended milder",
        {"severity": "medium", "peak_severity": "high", "condition": "cleared", "cleared_at": T0},
        "open",
    ),
]


@pytest.mark.parametrize(("what", "changes", "state"), SETTLED, ids=[what for what, *_ in SETTLED])
def test_what_becomes_of_an_alert_whose_condition_ends(what: str, changes: dict[str, Any], state: str):
    assert made(**changes).state == state


def test_whoever_has_started_on_a_high_alert_keeps_it_until_it_is_resolved():
    row = row_in("in-progress")
    row.condition, row.cleared_at = "cleared", NOW
    assert settled_state(row) == "in-progress"
    assert after(row, "resolve").state == "resolved"


@pytest.mark.parametrize("state", ["acknowledged", "in-progress", "snoozed", "resolved", "false-alert"])
def test_a_rise_in_severity_opens_what_was_decided_at_a_lower_one(state: str):
    action = {
        "acknowledged": "acknowledge",
        "in-progress": "start",
        "snoozed": "snooze",
        "resolved": "resolve",
    }
    row = after(made(severity="medium"), action.get(state, state))
    assert row.state == state
    row.severity = row.peak_severity = "high"
    assert settled_state(row) == "open"


def test_an_alert_closed_when_it_was_over_comes_back_acknowledged_when_it_goes_on():
    row = after(made(condition="cleared", cleared_at=T0 + MINUTE), "resolve")
    row.condition, row.cleared_at = "raised", None
    assert settled_state(row) == "acknowledged"


def test_the_guide_has_the_table_as_it_is():
    text = (Path(__file__).parents[2] / "docs/alerts.md").read_text()
    table = text.split("## What each state refuses")[1].split("What an action needs")[0]
    (head, *lines) = [
        line for line in table.splitlines() if line.startswith(("| state |", *(f"| {s} |" for s in STATES)))
    ]
    actions = [cell.strip() for cell in head.strip("|").split("|")][1:]
    found = {}
    for line in lines:
        state, *cells_ = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        found[state] = {action: cell for action, cell in zip(actions, cells_, strict=True) if cell}
    assert found == {state: dict(refused) for state, refused in REFUSED.items()}
    for name in (*REFUSALS, *OUTCOMES, *FALSE_REASONS):
        assert name in text, f"docs/alerts.md does not name {name}"
