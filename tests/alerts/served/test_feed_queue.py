"""The queue and the patient's page, as HTML and as JSON: who is in it, in which order, with what."""

from __future__ import annotations

import re
import threading
from html import unescape
from typing import Any
from uuid import uuid4

import httpx
import pytest
from feed_server import Events, RunningFeed, csrf_of, until
from made_up_ward import DAY, HOUR, NOW_MS, STORIES, one_signal

from alerts.store import write_signals
from streams.signal import SEVERITY_RANK

PAGE_BYTES_MAX = 150_000


def raise_alert(feed: RunningFeed, patient: str = "p-caen", n: int = 1, **more: Any) -> str:
    """An alert written as the writer does; returns its id."""
    alert = more.pop("alert", str(uuid4()))
    write_signals(feed.conn, [one_signal(patient, n, alert, **more)], feed.hands.now_ms)
    return alert


def acknowledge(client: httpx.Client, alert: str, note: str | None = None) -> httpx.Response:
    body = {"json": {"note": note}} if note is not None else {}
    return client.post(f"/api/alerts/{alert}/acknowledge", headers={"X-CSRF-Token": csrf_of(client)}, **body)


def text_of(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)))


def test_the_page_and_the_json_show_the_same_rows_in_the_same_order(ward: RunningFeed):
    client = ward.client("infirmiere")
    page = client.get("/").text
    queue = client.get("/api/queue").json()
    rows = re.findall(r'data-key="(\w+):([\w-]+)" data-order="([^"]+)"', page)
    for section in ("clinical", "technical"):
        shown = [patient for found, patient, _ in rows if found == section]
        assert shown == [row["person"]["patient"] for row in queue[section]]
        orders = [order for found, _, order in rows if found == section]
        assert orders == sorted(orders), "the script sorts by data-order as the database does"
    assert len(re.findall(r'<li class="alert', page)) == sum(
        len(row["alerts"]) for section in ("clinical", "technical") for row in queue[section]
    )


def test_the_gravest_come_first_then_the_unacknowledged_then_the_oldest(ward: RunningFeed):
    client = ward.client("infirmiere")
    rows = client.get("/api/queue").json()["clinical"]
    assert len(rows) > 5
    keys = []
    for row in rows:
        alerts = row["alerts"]
        ranks = [SEVERITY_RANK[alert["severity"]] for alert in alerts]
        assert ranks == sorted(ranks, reverse=True)
        top = [alert for alert in alerts if SEVERITY_RANK[alert["severity"]] == ranks[0]]
        keys.append((-ranks[0], all(not a["open"] for a in top), min(a["opened_at"] for a in top)))
    assert keys == sorted(keys)
    before = [row["person"]["patient"] for row in rows]
    acknowledge(client, rows[0]["alerts"][0]["alert"])
    after = [row["person"]["patient"] for row in client.get("/api/queue").json()["clinical"]]
    assert after.index(before[0]) > 0 or before[0] not in after


def test_a_row_says_who_what_against_which_limit_when_and_how_late(ward: RunningFeed):
    page = ward.client("infirmiere").get("/").text
    row = page[page.index('id="clinical:p-0002"') : page.index('id="clinical:p-0000"')]
    text = text_of(row)
    for words in (
        "Odette Marie-Anquetil",
        "73 y · F · Cardiologie Caen",
        "High",
        "Weight gain in 3 days",
        "late",
    ):
        assert words in text
    assert "above" in text
    assert "limit 2.0 kg" in text
    assert re.search(r"Measured 21\sNov 08:\d\d ?, 2\d h ago", text)
    assert 'class="limit"' in row
    assert "<svg" in row


def test_the_same_page_in_french_shows_french_sentences_and_numbers(ward: RunningFeed):
    client = ward.client("infirmiere", **{"Accept-Language": "fr"})
    page = client.get("/")
    assert page.headers["content-language"] == "fr"
    text = text_of(page.text)
    for words in (
        "Élevée",
        "Prise de poids en 3 jours",
        "de plus que",
        "tardive",
        "Acquitter",
        "appelez le 15 ou le 112",
    ):
        assert words in text
    assert re.search(r"Données à jour à 10:4\d", text)
    assert re.search(r"\d,\d\skg", text)
    client.post("/preferences", data={"language": "en", "theme": "dark"})
    english = client.get("/").text
    assert '<html lang="en" data-theme="dark">' in english
    assert "Acknowledge" in english


def test_the_warning_that_this_is_no_emergency_service_stands_on_every_page(ward: RunningFeed):
    client = ward.client("infirmiere")
    for path in ("/", "/patients/p-0000", "/login", "/docs", "/patients/nobody"):
        text = text_of(client.get(path).text)
        assert "This is not an emergency service: in an emergency call 15 or 112." in text
        assert "appelez le 15 ou le 112" in text


def test_technical_alerts_stand_in_a_place_of_their_own(ward: RunningFeed):
    queue = ward.client("infirmiere").get("/api/queue").json()
    assert {a["class"] for row in queue["clinical"] for a in row["alerts"]} == {"clinical"}
    assert {a["class"] for row in queue["technical"] for a in row["alerts"]} == {"technical"}
    assert [row["person"]["patient"] for row in queue["technical"]] == ["p-0003"]


def test_a_team_sees_its_own_patients_and_nobody_elses(ward: RunningFeed):
    other = next(f"p-{i:04d}" for i, story in enumerate(STORIES) if story.team == "bayeux")
    caen, bayeux = ward.client("infirmiere"), ward.client("bayeux")
    foreign = bayeux.get("/api/queue").json()["clinical"]
    assert [row["person"]["patient"] for row in foreign] == [other]
    alert = foreign[0]["alerts"][0]["alert"]
    for path in (f"/api/patients/{other}", f"/api/patients/{other}/readings", f"/api/alerts/{alert}"):
        assert caen.get(path).status_code == 404
        assert bayeux.get(path).status_code == 200
    assert caen.get(f"/patients/{other}").status_code == 404
    assert caen.get("/api/alerts", params={"patient": other}).json()["alerts"] == []
    assert caen.get("/queue/rows", params={"patient": other}).json()["rows"][0]["html"] is None
    assert acknowledge(caen, alert).status_code == 404
    assert bayeux.get(f"/api/alerts/{alert}").json()["alert"]["state"] == "open"


def test_an_auditor_sees_all_and_changes_nothing_and_an_engineer_sees_nobody(ward: RunningFeed):
    auditor, engineer = ward.client("audit"), ward.client("ops")
    queue = auditor.get("/api/queue").json()
    assert {row["person"]["care_team"] for row in queue["clinical"]} == {"caen", "bayeux"}
    assert acknowledge(auditor, queue["clinical"][0]["alerts"][0]["alert"]).status_code == 403
    assert "formaction" not in auditor.get("/").text
    assert engineer.get("/api/queue").status_code == 403
    assert engineer.get("/api/patients/p-0000").status_code == 403


def test_acknowledging_is_one_request_and_leaves_its_trace(feed: RunningFeed):
    alert = raise_alert(feed)
    nurse = feed.client("infirmiere")
    feed.hands.now_ms += 5 * 60_000
    answer = acknowledge(nurse, alert, "called, feels well")
    assert answer.status_code == 200
    found = answer.json()["alert"]
    assert (found["state"], found["acknowledged_by"], found["acknowledged_name"]) == (
        "acknowledged", "infirmiere", "Claire Martin",
    )  # fmt: skip
    steps = nurse.get(f"/api/alerts/{alert}").json()["events"]
    assert [step["event"] for step in steps] == ["acknowledged", "raised"]
    assert steps[0]["actor_name"] == "Claire Martin"
    assert steps[0]["body"]["note"] == "called, feels well"
    assert "Acknowledged by Claire Martin at 10:47" in text_of(nurse.get("/").text)


def test_the_button_works_without_javascript(feed: RunningFeed):
    alert = raise_alert(feed)
    nurse, doctor = feed.client("infirmiere"), feed.client("medecin")
    form = {"csrf": csrf_of(nurse)}
    assert f'formaction="/alerts/{alert}/acknowledge"' in nurse.get("/").text
    assert nurse.post(f"/alerts/{alert}/acknowledge", data=form).headers["location"] == "/"
    late = doctor.post(f"/alerts/{alert}/acknowledge", data={"csrf": csrf_of(doctor)})
    assert late.status_code == 409
    assert "Already acknowledged by Claire Martin at 10:42" in text_of(late.text)
    assert nurse.post(f"/alerts/{alert}/acknowledge", data={"csrf": "wrong"}).status_code == 403
    assert nurse.post(f"/alerts/{uuid4()}/acknowledge", data=form).status_code == 404
    assert nurse.post("/alerts/not-an-id/acknowledge", data=form).status_code == 400


def test_of_two_people_at_once_one_wins_and_the_other_learns_who(feed: RunningFeed):
    people = [feed.client("infirmiere"), feed.client("medecin")] * 3
    tokens = [csrf_of(client) for client in people]
    for n in range(1, 6):
        alert = raise_alert(feed, n=n, rule=f"rule-{n}")
        start = threading.Barrier(len(people))
        answers: list[httpx.Response] = []

        def take(
            client: httpx.Client, token: str, alert: str = alert, start: threading.Barrier = start
        ) -> None:
            start.wait()
            answers.append(client.post(f"/api/alerts/{alert}/acknowledge", headers={"X-CSRF-Token": token}))  # noqa: B023

        threads = [threading.Thread(target=take, args=pair) for pair in zip(people, tokens, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
        winner = next(a.json()["alert"]["acknowledged_name"] for a in answers if a.status_code == 200)
        for conflict in (a.json() for a in answers if a.status_code == 409):
            assert (conflict["error"], conflict["by"], conflict["alert"]["state"]) == (
                "already-acknowledged",
                winner,
                "acknowledged",
            )
        events = people[0].get(f"/api/alerts/{alert}").json()["events"]
        assert [event["event"] for event in events] == ["acknowledged", "raised"]


def test_a_high_alert_whose_condition_is_over_waits_for_an_acknowledgement_and_then_leaves(feed: RunningFeed):
    alert = raise_alert(feed)
    raise_alert(feed, n=2, alert=alert, state="cleared", at_ms=NOW_MS + HOUR)
    nurse = feed.client("infirmiere")
    (row,) = nurse.get("/api/queue").json()["clinical"]
    assert (row["alerts"][0]["condition"], row["alerts"][0]["ringing"]) == ("cleared", False)
    assert "condition over" in text_of(nurse.get("/").text)
    assert acknowledge(nurse, alert).json()["alert"]["state"] == "cleared"
    assert nurse.get("/api/queue").json()["clinical"] == []
    assert acknowledge(nurse, alert).json()["error"] == "closed"


def test_a_medium_alert_whose_condition_is_over_leaves_by_itself(feed: RunningFeed):
    alert = raise_alert(feed, severity="medium")
    raise_alert(feed, n=2, alert=alert, severity="medium", state="cleared", at_ms=NOW_MS + HOUR)
    nurse = feed.client("infirmiere")
    assert nurse.get("/api/queue").json()["clinical"] == []
    assert nurse.get("/api/alerts").json()["alerts"][0]["alert"] == alert


def test_the_title_counts_what_rings(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    assert "<title>Alerts · SCAD</title>" in nurse.get("/").text
    first = raise_alert(feed)
    raise_alert(feed, n=2, late=True, rule="dry-weight")
    raise_alert(feed, n=3, severity="medium", rule="weight-gain-7d")
    raise_alert(feed, n=4, cls="technical", rule="no-reading")
    assert "<title>(1) Alerts · SCAD</title>" in nurse.get("/").text
    acknowledge(nurse, first)
    assert "<title>Alerts · SCAD</title>" in nurse.get("/").text


def test_the_header_says_how_old_the_data_is_and_warns_when_the_stream_stalls(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    assert 'class="fresh current"' in nurse.get("/").text
    ward.hands.now_ms += 2 * HOUR
    nurse = ward.client("infirmiere")  # the session has ended meanwhile
    page = nurse.get("/").text
    assert 'class="fresh stalled"' in page
    assert "No reading received since 10:4" in text_of(page)
    assert 'class="fresh stalled"' in nurse.get("/queue/rows").json()["header"]


def test_a_patients_page_shows_curves_alerts_and_what_happened(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    page = nurse.get("/patients/p-0006?days=30")
    text = text_of(page.text)
    for words in (
        "Yvonne Delaunay",
        "Heart failure",
        "Balance BW-200",
        "Weight gain in 3 days",
        "Raised",
        "Condition over",
    ):
        assert words in text
    assert "last 30 days" in page.text
    assert nurse.get("/patients/p-0006?days=0").status_code == 400
    assert nurse.get("/patients/nobody").status_code == 404
    assert nurse.get("/patients/%00").status_code == 400


def test_a_patients_page_leaves_updates_out_that_changed_nothing(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    page = nurse.get("/api/patients/p-0007").json()
    crises = [event for event in page["events"] if event["event"] == "updated"]
    assert all(event["severity"] is not None for event in crises)
    mean = next(a for a in page["standing"] + page["history"] if a["rule"] == "bp-weekly-mean")
    everything = nurse.get(f"/api/alerts/{mean['alert']}").json()["events"]
    assert len(everything) > 10 > len([e for e in page["events"] if e["alert"] == mean["alert"]])


def test_readings_come_in_order_bounded_and_by_kind(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    url = "/api/patients/p-0012/readings"
    found = nurse.get(url, params={"kind": "glucose"}).json()
    assert found["truncated"] is True
    assert len(found["readings"]) == 1000
    instants = [reading["measured_at"] for reading in found["readings"]]
    assert instants == sorted(instants)
    more = nurse.get(url, params={"from": instants[-1], "limit": 5000}).json()
    assert more["truncated"] is False
    assert more["readings"][0] == found["readings"][-1]
    assert nurse.get(url, params={"kind": "inr"}).json()["readings"] == []
    for bad in (
        {"from": "yesterday"},
        {"limit": 0},
        {"limit": 5001},
        {"kind": "No Kind"},
        {"to": "2026-01-01T00:00:00"},
    ):
        assert nurse.get(url, params=bad).status_code == 422


def test_the_history_is_paged_without_losing_alerts_of_one_instant(feed: RunningFeed):
    made = {raise_alert(feed, n=n, rule=f"rule-{n % 3}", at_ms=NOW_MS - (n // 4) * DAY) for n in range(1, 12)}
    nurse = feed.client("infirmiere")
    found: list[str] = []
    before: str | None = None
    for _ in range(9):
        answer = nurse.get("/api/alerts", params={"limit": 2} | ({"before": before} if before else {})).json()
        found += [alert["alert"] for alert in answer["alerts"]]
        before = answer["next"]
        if before is None:
            break
    assert len(found) == len(made)
    assert set(found) == made
    assert nurse.get("/api/alerts", params={"before": "nonsense"}).status_code == 422
    assert len(nurse.get("/api/alerts", params={"rule": "rule-0"}).json()["alerts"]) == 3
    assert nurse.get("/api/alerts", params={"state": "acknowledged"}).json()["alerts"] == []


def test_a_page_of_fifty_patients_with_continuous_glucose_stays_under_its_bound(ward: RunningFeed):
    ward.conn.execute("""
        insert into scad.patient select 'p-many-' || i, 'caen', now() from generate_series(1, 60) i;
        insert into identity.person select 'p-many-' || i, 'Marie-Anquetil', 'Marie-Thérèse', '1940-01-01',
               'female' from generate_series(1, 60) i;
        insert into scad.reading select measured_at, device || i, epoch, seq, digest, 'p-many-' || i, kind, value,
               "values", flags, context, marks, offset_min, too_late, received_at, stored_at
          from scad.reading, generate_series(1, 60) i where patient = 'p-0012' and seq % 4 = 0""")
    for i in range(1, 61):
        raise_alert(ward, f"p-many-{i}", n=1, rule="glucose-high")
    ward.conn.execute(
        "update scad.alert set evidence = replace(evidence::text, 'body-weight', 'glucose')::jsonb,"
        " unit = 'mg/dL', limit_value = 250 where patient like 'p-many-%'"
    )
    nurse = ward.client("infirmiere")
    page = nurse.get("/")
    assert page.text.count('class="band"') > 12, "the first rows are whole"
    assert page.text.count("<article") >= 50, "the others in brief"
    assert len(page.content) < PAGE_BYTES_MAX
    assert f"of {nurse.get('/api/queue').json()['clinical_total']} patients shown" in text_of(page.text)
    assert "rows=100" in page.text
    everybody = nurse.get("/?rows=1000").text
    assert everybody.count("<article") > 60 > page.text.count("<article")
    assert "patients shown" not in text_of(everybody)


def test_names_reach_neither_urls_nor_metrics(ward: RunningFeed):
    page = ward.client("infirmiere").get("/").text
    links = re.findall(r'(?:href|action|src)="([^"]*)"', page)
    assert links
    assert not [link for link in links if "efèvre" in link or "elaunay" in link]
    ops = ward.client("ops")
    metrics = ops.get("/metrics")
    assert metrics.status_code == 200
    assert "scad_feed_request_seconds_bucket" in metrics.text
    assert 'scad_feed_alerts{class="clinical",severity="high",state="open"}' in metrics.text
    said = dict(
        line.rsplit(" ", 1) for line in metrics.text.splitlines() if line.startswith("scad_database_")
    )
    assert float(said["scad_database_bytes"]) > 1e6
    assert 0 < float(said["scad_database_connections"]) < float(said["scad_database_connections_max"])
    assert "p-0000" not in metrics.text
    assert "elaunay" not in metrics.text
    assert ward.client("infirmiere").get("/metrics").status_code == 403


def test_a_scraper_reads_the_metrics_with_basic_authentication(feed: RunningFeed):
    from made_up_ward import PASSWORD

    client = feed.client()
    assert client.get("/metrics", auth=("ops", PASSWORD)).status_code == 200
    assert client.get("/metrics", auth=("ops", "wrong")).status_code == 401
    assert client.get("/metrics", auth=("infirmiere", PASSWORD)).status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Basic ???"}).status_code == 401


def test_the_description_of_the_api_is_a_page_without_foreign_scripts(feed: RunningFeed):
    client = feed.client("infirmiere")
    description = client.get("/openapi.json").json()
    page = client.get("/docs").text
    assert set(description["paths"]) >= {"/api/queue", "/api/stream", "/api/alerts/{alert}/{action}"}
    for path, methods in description["paths"].items():
        assert path in page
        for operation in methods.values():
            assert operation["description"]
            assert "401" in operation["responses"]
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_ready_says_what_is_wrong_with_the_schema(feed: RunningFeed):
    assert feed.client().get("/health/ready").json()["status"] == "ready"
    feed.conn.execute("update scad.migration set name = '0099_later.sql' where name = '0004_accounts.sql'")
    answer = feed.client().get("/health/ready")
    assert answer.status_code == 503
    assert "lacks 0004_accounts.sql: run `scad schema apply`" in answer.text
    feed.conn.execute(
        "insert into scad.migration (name, checksum, edition) values ('0004_accounts.sql', '', '')"
    )
    answer = feed.client().get("/health/ready")  # an upgrade is under way: this feed goes on
    assert answer.status_code == 200
    assert "newer than this release: 0099_later.sql" in answer.text


def test_a_change_shows_in_the_fragments_that_the_script_fetches(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    events = Events(nurse).open()
    alert = raise_alert(feed)
    until(lambda: events.ids, "the event arrives")
    events.stop()
    rows = nurse.get("/queue/rows", params={"patient": ["p-caen", "p-bayeux"]}).json()
    found = {row["key"]: row["html"] for row in rows["rows"]}
    assert alert in found["clinical:p-caen"]
    assert found["technical:p-caen"] is None
    assert found["clinical:p-bayeux"] is None
    assert rows["ringing"] == 1


@pytest.mark.parametrize("path", ["/nowhere", "/api/nowhere"])
def test_an_unknown_path_is_told_in_the_form_that_was_asked(feed: RunningFeed, path: str):
    answer = feed.client("infirmiere").get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/json" if "api" in path else "text/html")
