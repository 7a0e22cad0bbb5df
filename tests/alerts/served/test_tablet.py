"""The patient's tablet over HTTP: a code, a token, the questions to their end, and what the nurse then sees."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of
from made_up_ward import DAY, FAMILY, GIVEN, NOW_MS, care_plan, store_plan

from devices.questionnaire import begin
from streams import topics
from streams.intake import decode_intervals, process

HEART = "heart-failure"


def give(feed: RunningFeed, patient: str = "p-caen", login: str = "infirmiere") -> str:
    """A code, as the nurse reads it out."""
    nurse = feed.client(login)
    page = nurse.post(f"/patients/{patient}/tablet", data={"csrf": csrf_of(nurse)})
    found = re.search(r'class="code">(\d{4} \d{4})<', page.text)
    assert found is not None, page.text
    return found[1]


def linked(feed: RunningFeed, patient: str = "p-caen") -> httpx.Client:
    tablet = feed.client()
    answer = tablet.post("/tablet/link", data={"code": give(feed, patient)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/tablet")
    return tablet


def hidden(page: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = {"answer": []}
    for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text):
        if name == "answer":
            found["answer"].append(value)
        else:
            found[name] = value
    return found


def answer_all(tablet: httpx.Client, **said: str) -> httpx.Response:
    """Answer with `said` (by question, `_` for `-`), else with the first choice, to the end."""
    page = tablet.post("/tablet")
    while 'name="question"' in page.text:
        fields = hidden(page)
        choices = re.findall(r'name="choice" value="([^"]*)"', page.text)
        wanted = said.get(fields["question"].replace("-", "_").replace(":", "__"), choices[0])
        assert wanted in choices, (fields["question"], choices)
        page = tablet.post("/tablet", data={**fields, "choice": wanted})
    return page


def sent(feed: RunningFeed) -> list[dict[str, Any]]:
    """What the tablet's readings are on their way to Kafka."""
    rows = feed.conn.execute(
        "select key, value from scad.outbox where topic = %s order by id", (topics.TELEMETRY,)
    ).fetchall()
    return [json.loads(bytes(value)) for _, value in rows]


@pytest.fixture
def on_plan(feed: RunningFeed) -> RunningFeed:
    store_plan(feed.conn, care_plan("p-caen", HEART, NOW_MS))
    return feed


def test_a_code_links_a_tablet_once_and_only_for_half_an_hour(on_plan: RunningFeed):
    feed = on_plan
    code = give(feed)
    first, second = feed.client(), feed.client()
    assert first.post("/tablet/link", data={"code": "1"}).status_code == 422
    assert first.post("/tablet/link", data={"code": code}).status_code == 303
    assert "Begin" in first.get("/tablet").text
    assert second.post("/tablet/link", data={"code": code}).status_code == 422
    old = give(feed)
    feed.hands.now_ms += 31 * 60_000
    assert second.post("/tablet/link", data={"code": old}).status_code == 422
    assert "Begin" in first.get("/tablet").text  # a code that was not used changes nothing


def test_the_tablet_shows_nothing_about_anybody_and_opens_no_other_page(on_plan: RunningFeed):
    tablet = linked(on_plan)
    texts = [
        tablet.get("/tablet").text,
        answer_all(tablet, wellbeing="worse").text,
        tablet.get("/tablet").text,
    ]
    for text in texts:
        assert not any(name in text for name in (*FAMILY, *GIVEN, "p-caen"))
    for path in ("/", "/patients/p-caen", "/api/queue", "/fhir/Patient"):
        assert tablet.get(path).status_code in (303, 401)
    cookie = tablet.cookies.jar
    assert {(c.name, c.path) for c in cookie} >= {("scad_tablet", "/tablet")}


def test_answers_become_one_reading_that_the_platform_takes_under_the_tablets_serial(on_plan: RunningFeed):
    feed = on_plan
    tablet = linked(feed)
    page = answer_all(tablet, swelling="ankles", swelling_more="yes", salt="yes", salt_why="hard")
    assert "Call your doctor today" in page.text
    assert "Eat without salt" in page.text
    (reading,) = sent(feed)
    walk = begin([HEART])
    assert reading["values"] == {
        **{name: value for q in walk.questions for name, value in q.choices[0].sets.items()},
        "dyspnoea": 0,
        "oedema": 1,
        "salt_lapse": True,
    }
    (key, value) = feed.conn.execute(
        "select key, value from scad.outbox where topic = %s", (topics.ASSIGNMENTS,)
    ).fetchone()
    assert key == reading["device"]
    known = decode_intervals(bytes(value))
    taken = process(json.dumps(reading).encode(), key, NOW_MS, lambda _: known)
    assert (taken.refusals, [r.patient for r in taken.readings]) == ([], ["p-caen"])
    assert reading["measured_at"].endswith("+01:00")


def test_the_last_answer_sent_twice_is_one_sitting(on_plan: RunningFeed):
    feed = on_plan
    tablet = linked(feed)
    page = tablet.post("/tablet")
    fields = hidden(page)
    for _ in range(2):
        done = tablet.post("/tablet", data={**fields, "question": "chest-pain", "choice": "yes"})
        assert "Call 15 or 112 now" in done.text
    assert [reading["values"] for reading in sent(feed)] == [{"chest_pain": True}]
    assert feed.conn.execute("select count(*) from scad.questionnaire_sitting").fetchone() == (1,)


def test_a_red_answer_ends_the_questions_and_says_at_once_to_call(on_plan: RunningFeed):
    tablet = linked(on_plan)
    page = answer_all(tablet, breath="yes", breath_when="rest")
    assert 'role="alert"' in page.text
    assert 'href="tel:15"' in page.text
    assert 'href="tel:112"' in page.text
    assert 'class="red"' in tablet.get("/tablet").text  # and goes on saying so that day
    nurse = on_plan.client("infirmiere").get("/patients/p-caen/questionnaire").text
    assert "Told to call 15 or 112" in nurse
    assert "Even at rest, without moving" in nurse


def test_a_red_answer_says_so_even_while_the_database_is_away(
    on_plan: RunningFeed, monkeypatch: pytest.MonkeyPatch
):
    tablet = linked(on_plan)
    fields = hidden(tablet.post("/tablet"))

    def away() -> None:
        raise psycopg.OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(on_plan.feed.database, "login", away)
        page = tablet.post("/tablet", data={**fields, "choice": "yes"})
        assert page.status_code == 503
        assert "Call 15 or 112 now" in page.text
        assert "could not be sent" in page.text
        assert tablet.post("/tablet", data={**fields, "choice": "no"}).status_code == 503
    again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    assert "Your answers are sent" in tablet.post("/tablet", data=again).text
    assert [reading["values"] for reading in sent(on_plan)] == [{"chest_pain": True}]


def test_the_next_day_asks_whether_the_advice_was_followed_and_the_nurse_sees_it(on_plan: RunningFeed):
    feed = on_plan
    tablet = linked(feed)
    answer_all(tablet, salt="yes", salt_why="occasion")
    feed.hands.now_ms += 60_000
    answer_all(tablet, medicine="yes", medicine_why="none-left")  # the same day again: nothing is asked twice
    feed.hands.now_ms += DAY
    page = answer_all(tablet, followed__salt="partly", **{"followed__medicine_pharmacy": "no"})
    assert "Thank you" in page.text
    nurse = feed.client("infirmiere").get("/patients/p-caen/questionnaire").text
    assert nurse.index("not followed") < nurse.index("partly followed")  # the later sitting stands above
    followed = feed.conn.execute(
        "select followed from scad.questionnaire_sitting order by at desc limit 1"
    ).fetchone()
    assert followed == ({"salt": "partly", "medicine-pharmacy": "no"},)


def test_a_step_back_and_another_language_lose_no_answer(on_plan: RunningFeed):
    tablet = linked(on_plan)
    page = tablet.post("/tablet")
    page = tablet.post("/tablet", data={**hidden(page), "choice": "no"})
    assert hidden(page)["answer"] == ["chest-pain=no"]
    french = tablet.post("/tablet", data={**hidden(page), "language": "fr"})
    assert 'lang="fr"' in french.text
    assert "Avez-vous perdu connaissance" in french.text
    assert hidden(french)["answer"] == ["chest-pain=no"]
    back = tablet.post("/tablet", data={**hidden(french), "back": "1"})
    assert hidden(back)["question"] == "chest-pain"


def test_answers_out_of_turn_begin_again_and_another_sites_form_is_refused(on_plan: RunningFeed):
    tablet = linked(on_plan)
    for wrong in ({"answer": "faint=no"}, {"question": "salt", "choice": "yes"}, {"sitting": "x"}):
        answer = tablet.post("/tablet", data=wrong)
        assert answer.status_code == 409
        assert "The questions have changed" in answer.text
    elsewhere = tablet.post("/tablet", headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.status_code == 403
    assert sent(on_plan) == []


def test_access_ends_when_the_nurse_ends_it_or_takes_the_device_back(on_plan: RunningFeed):
    feed = on_plan
    tablet, nurse = linked(feed), feed.client("infirmiere")
    nurse.post("/patients/p-caen/tablet/end", data={"csrf": csrf_of(nurse)})
    assert "Link this tablet" in tablet.get("/tablet").text
    assert tablet.post("/tablet").status_code == 403
    again = linked(feed)
    assert "Begin" in again.get("/tablet").text
    feed.hands.now_ms += 60_000
    (device,) = feed.conn.execute("select device from scad.tablet").fetchone()
    nurse.post(f"/patients/p-caen/devices/{device}/release", data={"csrf": csrf_of(nurse)})
    assert again.post("/tablet").status_code == 403


def test_a_nurse_of_another_team_gives_no_code_and_sees_no_answer(on_plan: RunningFeed):
    other = on_plan.client("bayeux")
    assert other.get("/patients/p-caen/questionnaire").status_code == 404
    assert other.post("/patients/p-caen/tablet", data={"csrf": csrf_of(other)}).status_code == 404
    auditor = on_plan.client("audit")
    assert auditor.get("/patients/p-caen/questionnaire").status_code == 200
    assert auditor.post("/patients/p-caen/tablet", data={"csrf": csrf_of(auditor)}).status_code == 403


def test_the_log_in_role_reaches_no_table_about_the_tablet(on_plan: RunningFeed):
    for table in ("scad.tablet", "scad.questionnaire_sitting", "scad.outbox", "scad.patient"):
        query = f"set local role scad_login; select from {table}"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            on_plan.conn.execute(query.encode())


def test_a_patient_without_a_plan_is_asked_nothing(feed: RunningFeed):
    tablet = linked(feed)
    assert "There is no question for you" in tablet.get("/tablet").text
    assert "There is no question for you" in tablet.post("/tablet").text
