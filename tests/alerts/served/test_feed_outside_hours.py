"""What the pages say while the team is closed, and the choice of a team for whoever sees several."""

from __future__ import annotations

from uuid import uuid4

from feed_server import RunningFeed
from made_up_ward import HOUR, NOW_MS, one_signal

from alerts.service_times import parse_service_times, record_service_times
from alerts.store import write_signals
from devices.times import to_datetime

MONDAY_MS = NOW_MS + 24 * HOUR  # NOW is a Sunday, 10:42 in Paris


def test_outside_hours_the_page_has_the_teams_message_and_alerts_a_tag(feed: RunningFeed):
    words = {"outside_hours": {"fr": "Nous reprenons lundi.", "en": "Back on Monday."}}
    times = parse_service_times(words, "caen")
    record_service_times(feed.conn, "caen", times, "admin", to_datetime(NOW_MS))
    write_signals(feed.conn, [one_signal("p-caen", 1, str(uuid4()))], NOW_MS)
    nurse = feed.client("infirmiere")
    for path in ("/", "/patients/p-caen"):
        page = nurse.get(path).text
        assert "Back on Monday." in page, path
        assert "Opens 23\u202fNov 09:00" in page, path
        assert ">outside hours</span>" in page, path
    assert "Nous reprenons lundi." in nurse.get("/", headers={"Accept-Language": "fr"}).text
    assert "Back on Monday." in nurse.get("/queue/rows").json()["header"]
    assert nurse.get("/api/queue").json()["clinical"][0]["alerts"][0]["outside_hours"] is True
    feed.hands.now_ms = MONDAY_MS
    page = feed.client("infirmiere").get("/").text
    assert "Back on Monday." not in page
    assert ">outside hours</span>" in page, "it came while the team was closed"


def test_whoever_sees_several_teams_may_choose_one(feed: RunningFeed):
    for patient in ("p-caen", "p-bayeux"):
        write_signals(feed.conn, [one_signal(patient, 1, str(uuid4()))], NOW_MS)
    auditor, nurse = feed.client("audit"), feed.client("infirmiere")
    assert '<select name="team">' in auditor.get("/").text
    assert '<select name="team">' not in nurse.get("/").text
    page = auditor.get("/?team=bayeux").text
    assert "/patients/p-bayeux" in page
    assert "/patients/p-caen" not in page
    assert "/patients/p-bayeux" not in nurse.get("/?team=bayeux").text


def test_days_of_a_planned_absence_do_not_lower_adherence(feed: RunningFeed):
    feed.conn.execute(
        "insert into scad.absence (patient, from_at, to_at, kind, recorded_by, recorded_at, begun)"
        " values ('p-caen', %s, %s, 'holiday', 'anne', %s, true)",
        (to_datetime(NOW_MS - 200 * HOUR), to_datetime(NOW_MS + HOUR), to_datetime(NOW_MS)),
    )
    feed.conn.execute(
        "insert into scad.care_plan (patient, version, from_at, document, recorded_at) values ('p-caen', 1, %s,"
        """ '{"version": 1, "from": "2026-01-01T00:00:00Z", "protocols": ["heart-failure"]}', now())""",
        (to_datetime(NOW_MS - 2_000 * HOUR),),
    )
    write_signals(feed.conn, [one_signal("p-caen", 1, str(uuid4()))], NOW_MS)
    row = feed.client("audit").get("/api/queue").json()["clinical"][0]
    weight = next(one for one in row["adherence"] if one["kind"] == "body-weight")
    # of the 13 days before today eight touch the absence
    assert (weight["done"], weight["expected"]) == (0, 5)
