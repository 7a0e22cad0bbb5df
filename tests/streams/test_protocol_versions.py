"""New versions of a protocol: from their own instant on, for everybody on it, whatever arrived first."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.dated import decode_version, published_with
from streams.engine import Engine
from streams.plans import CarePlan, ProtocolVersion
from streams.protocols import ProtocolError, load_published, parse_document
from streams.protocols.model import Dated, Library
from streams.signal import StandingEpisode, fold
from tests.streams.histories import DAY_MS, PATIENT, SPAN_DAYS, START_MS, Told, told
from tests.streams.timeline import LIBRARY, Patient, ms, plan, version

FOLDER = Path(__file__).parents[2] / "streams" / "protocols"
HF = "heart-failure"


def document(protocol: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{protocol}.toml").read_text(encoding="utf-8"))


def with_gain(limit: float, version_: str = "2026.2", **fields: Any) -> dict[str, Any]:
    """Heart failure with another limit of weight-gain-3d."""
    changed = document(HF) | {"version": version_}
    (level,) = changed["rules"]["weight-gain-3d"]["levels"]
    level |= {"at_least": limit, "clear": limit - 0.5} | fields
    return changed


def record(begins: str, changed: dict[str, Any]) -> ProtocolVersion:
    return ProtocolVersion(
        protocol=changed["name"], version=changed["version"], from_=begins, document=changed
    )


def publish(patient: Patient, *versions: ProtocolVersion) -> Patient:
    patient.engine.use(published_with(patient.engine.library, [(v, "a test") for v in versions]))
    return patient


def gains(patient: Patient) -> Patient:
    """A gain of 2.1 kg from the 1st to the 4th."""
    return patient.at("2026-03-01 07:00").weight(80.0).at("2026-03-04 07:00").weight(82.1)


WATCHED = plan(version(1, "2026-02-28", HF))
EARLY, LATE = "2026-03-02T00:00:00+01:00", "2026-03-10T00:00:00+01:00"


# ── what a version does ───────────────────────────────────────────────────────────────────────────────


def test_a_version_holds_for_readings_measured_from_its_own_instant_on() -> None:
    patient = publish(gains(Patient(plan=WATCHED)), record(LATE, with_gain(1.0)))
    patient.at("2026-03-05 07:00").weight(82.1).cleared("weight-gain-3d")
    assert patient.signal("weight-gain-3d").protocol_version == "2026.1"
    patient.at("2026-03-06 07:00").weight(83.3).quiet("weight-gain-3d")
    patient.at("2026-03-09 07:00").weight(82.0).at("2026-03-10 07:00").weight(83.1).raised("weight-gain-3d")
    signal = patient.signal("weight-gain-3d")
    assert (signal.limit, signal.protocol_version) == (1.0, "2026.2")


def test_one_that_comes_late_is_as_if_it_had_always_been_there() -> None:
    patient = publish(gains(Patient(plan=WATCHED)), record(EARLY, with_gain(4.0)))
    patient.tick("2026-03-04 12:00").cleared("weight-gain-3d", "protocol")
    assert patient.standing("weight-gain-3d") == []


def test_an_open_alert_goes_on_under_the_next_version_and_names_the_one_that_judged_it() -> None:
    patient = publish(Patient(plan=WATCHED), record("2026-03-04T12:00:00+01:00", with_gain(1.8)))
    gains(patient).at("2026-03-04 19:00").weight(82.3).updated("weight-gain-3d")
    signal = patient.signal("weight-gain-3d")
    assert (signal.limit, signal.protocol_version) == (1.8, "2026.2")


def test_a_version_that_judges_the_same_episode_says_so() -> None:
    patient = publish(gains(Patient(plan=WATCHED)), record(EARLY, with_gain(1.9)))
    patient.tick("2026-03-04 12:00").updated("weight-gain-3d")
    assert patient.signal("weight-gain-3d").protocol_version == "2026.2"


def test_a_personal_limit_holds_under_every_version() -> None:
    own = plan(version(1, "2026-02-28", HF, limits={HF: {"weight-gain-3d": {"limit": 3.0}}}))
    publish(Patient(plan=own), record(EARLY, with_gain(1.0)))
    patient = gains(publish(Patient(plan=own), record(EARLY, with_gain(1.0))))
    assert patient.standing("weight-gain-3d") == []


def test_a_rule_that_a_version_no_longer_has_ends_at_its_instant() -> None:
    without = with_gain(2.0)
    del without["rules"]["weight-gain-3d"]
    patient = publish(gains(Patient(plan=WATCHED)), record("2026-03-05T00:00:00+01:00", without))
    patient.tick("2026-03-04 12:00").quiet().tick("2026-03-05 00:00").cleared("weight-gain-3d")


def test_the_engine_asks_to_be_called_when_a_version_begins() -> None:
    patient = publish(Patient(plan=WATCHED), record(LATE, with_gain(1.0))).tick("2026-03-01 00:00")
    patient.at("2026-03-09 20:00").weight(80.0).answers(dyspnoea=0)
    assert patient.engine.next_deadline_ms(patient.state) == ms("2026-03-10 00:00")


def test_a_withdrawn_version_leaves_no_trace_but_the_signals() -> None:
    patient = publish(gains(Patient(plan=WATCHED)), record(EARLY, with_gain(4.0))).tick("2026-03-04 12:00")
    publish(patient).tick("2026-03-04 12:05").raised("weight-gain-3d")
    assert patient.signal("weight-gain-3d").protocol_version == "2026.1"


def test_a_rule_that_only_a_withdrawn_version_had_is_cleared_in_words() -> None:
    more = with_gain(2.0)
    more["rules"]["weight-jump"] = deepcopy(more["rules"]["weight-gain-3d"])
    patient = publish(Patient(plan=WATCHED), record(EARLY, more))
    gains(patient).raised("weight-jump")
    publish(patient).tick("2026-03-04 12:00").cleared("weight-jump", "protocol")


def test_the_hours_of_silence_are_the_versions_from_its_instant_on() -> None:
    sooner = document(HF) | {"version": "2026.2"}
    sooner["schedule"]["body-weight"] |= {"overdue_hours": 30, "grave_hours": 48}
    patient = publish(Patient(plan=WATCHED), record("2026-03-05T00:00:00+01:00", sooner))
    patient.at("2026-03-01 07:00").weight(80.0).tick("2026-03-03 18:00").quiet()
    patient.at("2026-03-04 07:00").weight(80.0).tick("2026-03-05 12:00").quiet()
    patient.tick("2026-03-05 13:00").raised("no-reading")
    assert patient.signal("no-reading").protocol_version == "2026.2"


def test_two_versions_of_one_instant_are_told_apart_by_name_and_not_by_arrival() -> None:
    two = [record(EARLY, with_gain(4.0, "2026.2")), record(EARLY, with_gain(1.5, "2026.3"))]
    for order in (two, two[::-1]):
        patient = gains(publish(Patient(plan=WATCHED), *order))
        assert patient.signal("weight-gain-3d").limit == 1.5


def test_who_has_no_plan_follows_the_versions_of_the_default_protocols() -> None:
    patient = gains(publish(Patient(HF), record(EARLY, with_gain(4.0))))
    assert patient.standing("weight-gain-3d") == []


def test_a_version_that_joins_kinds_into_one_lane_keeps_what_was_known_of_each() -> None:
    joined = document("diabetes") | {"version": "2026.2"}
    joined["rules"]["device-fault"]["kinds"] = ["glucose", "ketones", "body-weight"]
    both = plan(version(1, "2026-02-28", HF, "diabetes"))
    patient = gains(Patient(plan=both)).glucose(50.0).raised("glucose-very-low")
    publish(patient, record(EARLY, joined)).tick("2026-03-04 08:00").quiet("weight-gain-3d")
    assert patient.updated("glucose-very-low").signal("glucose-very-low").protocol_version == "2026.2"
    assert patient.state.lanes.keys() == {"blood-pressure"}
    assert patient.open("weight-gain-3d")
    assert patient.open("glucose-very-low")
    publish(patient).tick("2026-03-04 09:00").quiet("weight-gain-3d").updated("glucose-very-low")
    assert len(patient.state.lanes) == 2


# ── order does not matter ─────────────────────────────────────────────────────────────────────────────


def _scaled(level: dict[str, Any], factor: float) -> None:
    word = next(w for w in ("at_least", "above", "at_most", "below") if w in level)
    for field in (word, "clear"):
        given = level[field]
        level[field] = (
            {c: v * factor for c, v in given.items()} if isinstance(given, dict) else given * factor
        )


@st.composite
def versions_of(draw: st.DrawFn, protocol: str) -> list[Dated]:
    """One to three versions with other limits, other windows, rules more and less, other lanes."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        changed = document(protocol) | {"version": f"2027.{number}"}
        rules = changed["rules"]
        clinical = [name for name, rule in rules.items() if rule["class"] == "clinical"]
        for name in draw(st.lists(st.sampled_from(clinical), max_size=3, unique=True)):
            what = draw(st.sampled_from(["less", "more", "twice", "gone", "again"]))
            rule = rules[name]
            rule.pop("plausible", None)
            if what == "gone":
                del rules[name]
            elif what == "again":
                rules[f"{name}-again"] = deepcopy(rule)
            elif what == "twice":
                for level in rule["levels"]:
                    level |= {"count": 2} if "count" not in level else {}
            else:
                for level in rule["levels"]:
                    _scaled(level, 0.97 if what == "less" else 1.03)
        for rule in rules.values():
            if "window_days" in rule and draw(st.booleans()):
                rule["window_days"] += 1
        if draw(st.integers(0, 3)) == 0:
            rules["device-fault"]["kinds"] += ["inr" if protocol != "anticoagulation" else "glucose"]
        day = draw(st.integers(-2, SPAN_DAYS))
        found.append(Dated(START_MS + day * DAY_MS, parse_document(changed, f"{protocol} {number}")))
    return found


def in_order(history: Told, protocol: str, library: Library) -> list[StandingEpisode]:
    engine = Engine(library, (protocol,), retention_ms=None)
    state = engine.new_state(PATIENT)
    engine.apply(state, plans=[history.plan] if history.plan is not None else [])
    for reading in sorted(history.readings, key=lambda r: (r.order, repr(r.values))):
        engine.apply(state, [reading])
    engine.apply(state, tick_ms=history.until_ms)
    return engine.standing(state)


@pytest.mark.parametrize("protocol", sorted(LIBRARY.protocols))
def test_whenever_versions_arrive_the_same_episodes_stand_and_the_signals_fold_to_them(protocol: str) -> None:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(told(protocol), versions_of(protocol), st.data())
    def holds(history: Told, versions: list[Dated], data: st.DataObject) -> None:
        places = [data.draw(st.integers(0, len(history.arrivals) - 1)) for _ in versions]
        by_ticks = len(history.arrivals) % 2 == 0
        engine = Engine(LIBRARY, (protocol,), None, checkpoint_every=3, silence_by_ticks=by_ticks)
        state = engine.new_state(PATIENT)
        folded: dict[str, StandingEpisode] = {}
        known: list[Dated] = []
        for number, arrival in enumerate(history.arrivals):
            written = engine.dump(state) if arrival.restart else None
            came = [v for v, place in zip(versions, places, strict=True) if place == number]
            if came:
                known = [*came, *known]
                engine.use(LIBRARY.with_published(known))
            if written is not None:  # the protocols may have changed while the worker was down
                state = engine.load(PATIENT, written)
            plans = [] if arrival.plan is None else [arrival.plan]
            for signal in engine.apply(state, arrival.readings, plans, arrival.tick_ms):
                fold(folded, signal)
            standing = {e.alert: e for e in engine.standing(state)}
            assert folded == standing
        assert engine.standing(state) == in_order(history, protocol, LIBRARY.with_published(versions))

    holds()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_state_read_with_other_protocols_is_written_and_read_again_before_it_is_evaluated(
    data: st.DataObject,
) -> None:
    protocol = data.draw(st.sampled_from(sorted(LIBRARY.protocols)))
    history, versions = data.draw(told(protocol)), data.draw(versions_of(protocol))
    engine = Engine(LIBRARY, (protocol,), retention_ms=None)
    state = engine.new_state(PATIENT)
    for arrival in history.arrivals:
        engine.apply(state, arrival.readings, [] if arrival.plan is None else [arrival.plan], arrival.tick_ms)
    written = engine.dump(state)
    engine.use(LIBRARY.with_published(versions))
    once = engine.load(PATIENT, written)
    twice = engine.load(PATIENT, engine.dump(once))
    assert engine.next_deadline_ms(twice) == twice.clock_ms  # it asks to be evaluated at once
    signals = [engine.apply(one, tick_ms=history.until_ms) for one in (once, twice)]
    assert signals[0] == signals[1]
    assert engine.standing(once) == engine.standing(twice)


# ── the record ────────────────────────────────────────────────────────────────────────────────────────


def encoded(**changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(record(EARLY, with_gain(1.5))) | changes)


def test_a_record_is_read_with_its_document_parsed_or_as_text() -> None:
    text = (FOLDER / f"{HF}.toml").read_text(encoding="utf-8")
    as_text = decode_version(encoded(version="2026.1", document=text), "protocol:heart-failure:2026.1")
    parsed = decode_version(encoded(version="2026.1", document=document(HF)))
    assert as_text.from_ms == parsed.from_ms == ms("2026-03-02 00:00")
    assert as_text.protocol.digest == parsed.protocol.digest == LIBRARY.protocols[HF].digest


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", ["protocol:x"]),
        (encoded(document="name = "), ["protocol:x", "not TOML"]),
        (encoded(document={"name": HF}), ["protocol:x: version: is None", "title.fr"]),
        (encoded(document=with_gain(1.5, clear=9)), ["rule weight-gain-3d: levels[0].clear: 9 is beyond"]),
        (encoded(**{"from": "tomorrow"}), ["protocol:x: from:"]),
        (encoded(version="2026.9"), ["version: the record says '2026.9' and its document '2026.2'"]),
        (encoded(), ["its key must be 'protocol:heart-failure:2026.2'"]),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_with_file_rule_and_field(
    value: bytes, words: list[str]
) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_version(value, "protocol:x")
    for word in words:
        assert word in str(refused.value)


def test_a_care_plan_is_checked_against_every_version() -> None:
    more = with_gain(2.0)
    more["rules"]["weight-jump"] = deepcopy(more["rules"]["weight-gain-3d"])
    own: CarePlan = plan(version(1, "2026-02-28", HF, limits={HF: {"weight-jump": {"limit": 1.0}}}))
    patient = publish(Patient(), record(LATE, more)).plan(own)
    patient.at("2026-03-10 07:00").weight(80.0).at("2026-03-11 07:00").weight(81.1).raised("weight-jump")


def test_two_libraries_with_the_same_versions_have_one_stamp_whatever_came_first() -> None:
    first, second = (Dated(n, parse_document(with_gain(1.5, f"v{n}"), "x")) for n in (1, 2))
    assert LIBRARY.with_published([first, second]).stamp == LIBRARY.with_published([second, first]).stamp
    stamps = {LIBRARY.with_published(some).stamp for some in ([], [first], [second], [first, second])}
    assert len(stamps) == 4
    assert load_published().stamp == LIBRARY.stamp
