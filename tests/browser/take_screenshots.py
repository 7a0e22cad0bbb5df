"""Take the pictures of docs/images anew: `python tests/browser/take_screenshots.py [NAME ...]`.

A made-up ward on a database of its own, in headless Chromium; names are those of PICTURES, all without any. Look at
what came out before it is committed: the script cannot see. Needs Pillow, for small files.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "alerts"))
sys.path.insert(0, str(Path(__file__).parents[1] / "alerts" / "served"))

import psycopg
from feed_server import RunningFeed, csrf_of, running
from further_pictures import (
    away,
    doors,
    enrolling,
    held,
    lost,
    nothing,
    one_alert,
    quicker,
    tablet,
    undone,
    why,
)
from made_up_ward import DAY, HOUR, NOW_MS, PASSWORD, add_patient, fill, one_signal, run_engine, store_plan
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from sealing import vault_of_tests

from alerts.feed.accounts import create_account
from alerts.identity import store as identities
from alerts.identity.store import Change
from alerts.schema import apply_schema
from alerts.service_times import parse_service_times, record_service_times
from alerts.store import write_signals
from devices.readings import Reading
from devices.times import format_instant, to_datetime
from scad.services import Postgres, chromium_program
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion, Schedule
from streams.protocols import load_published

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
COLOURS = 200  # of a palette: pages have few, and the files are a third of the size
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WIDE, MIDDLE, NARROW = (1280, 900), (1180, 900), (360, 800)
RICH, ANTICOAGULATED, TWICE = "p-rich", "p-inr", "p-twice"


class Studio:
    """A browser and the feed; a session for each login is opened once."""

    def __init__(self, browser: Browser, feed: RunningFeed) -> None:
        self.browser, self.feed = browser, feed
        self.locale, self.suffix = "en-GB", ""
        self.only: frozenset[str] = frozenset()  # names to be kept; empty: all
        self._cookies: dict[str, str] = {}

    def page(
        self, path: str, login: str = "infirmiere", size: tuple[int, int] = WIDE, **options: Any
    ) -> Page:
        """The page at `path`, logged in (with `login` empty: not), live where it can be."""
        if login and login not in self._cookies:
            self._cookies[login] = self.feed.client(login).cookies["scad_session"]
        settings = {
            "locale": self.locale,
            "reduced_motion": "reduce",
            "timezone_id": "Europe/Paris",
            **options,
        }
        context = self.browser.new_context(viewport={"width": size[0], "height": size[1]}, **settings)
        if login:
            session = {"name": "scad_session", "value": self._cookies[login], "url": self.feed.url}
            context.add_cookies([session])  # type: ignore[list-item]
        page = context.new_page()
        page.goto(self.feed.url + path)
        if page.locator("#live").count():
            page.locator("#live.on").wait_for()
        return page

    def keep(self, name: str, what: Page | Locator) -> None:
        if self.only and name not in self.only:
            return
        shot = Image.open(BytesIO(what.screenshot(animations="disabled"))).convert("RGB")
        target = IMAGES / f"{name}{self.suffix}.png"
        shot.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
        print(
            f"{target.relative_to(ROOT)}: {shot.width} × {shot.height}, {target.stat().st_size // 1024} KiB"
        )


# ── the ward ────────────────────────────────────────────────────────────────────────────────────────────────


def make_ward(conn: psycopg.Connection[Any]) -> None:
    fill(conn)
    create_account(
        conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS), display_name="Anne Roussel"
    )
    conn.execute(
        "insert into scad.care_team select 'vire', 'Vire', time_zone from scad.care_team where care_team = 'caen'"
    )
    create_account(conn, "vire", PASSWORD, "nurse", "vire", at=to_datetime(NOW_MS), display_name="Luc Mesnil")
    rich_patient(conn)
    anticoagulated_patient(conn)
    add_patient(conn, TWICE, "caen", 41, "body-weight", NOW_MS)
    for patient in (RICH, TWICE):
        sealed(conn, patient, RICH)
    on_duty(conn)
    synthetic_reading(conn, NOW_MS - 20_000)


def on_duty(conn: psycopg.Connection[Any]) -> None:
    """The made-up now is a Sunday: this team works on it, and its alerts are due as on any morning."""
    times = parse_service_times({"hours": {"sunday": ["08:00-18:00"]}}, "caen")
    record_service_times(conn, "caen", times, "admin", to_datetime(NOW_MS - 30 * DAY))
    conn.execute(
        """
        update scad.alert a set outside_hours = false, due_at = %s::timestamptz + case
               when a.severity = 'high' then make_interval(mins => 4 + n::int * 6)
               else make_interval(hours => 1, mins => n::int * 23) end
          from (select alert, row_number() over (partition by severity order by alert) - 2 as n from scad.alert) o
         where o.alert = a.alert and a.due_at is not null""",
        (to_datetime(NOW_MS),),
    )


def sealed(conn: psycopg.Connection[Any], patient: str, of: str) -> None:
    """Store under `patient` the traits of `of`, as two files of one person have them."""
    traits = identities.read(conn, vault_of_tests(), of)
    assert traits is not None
    conn.execute("delete from identity.person where patient = %s", (patient,))
    if patient != of:
        traits = type(traits)(traits.family_name.upper(), traits.given_names, traits.birth_date, traits.sex)
    identities.write(conn, vault_of_tests(), patient, traits, Change("infirmiere", NOW_MS, "enrolment"))


def rich_patient(conn: psycopg.Connection[Any]) -> None:
    """Weight and pressure of 90 days, some late and some missing, on two protocols."""
    random, readings = Random(11), []
    add_patient(conn, RICH, "caen", 45, "body-weight", NOW_MS)
    conn.execute(
        "insert into scad.device values ('bp-rich', 'Tensiomètre BP-7', %s)",
        (to_datetime(NOW_MS - 90 * DAY),),
    )
    conn.execute(
        "insert into scad.assignment values ('bp-rich', %s, %s, null)", (RICH, to_datetime(NOW_MS - 90 * DAY))
    )
    morning = NOW_MS - NOW_MS % DAY + 6 * HOUR
    for day in range(90, -1, -1):
        if 17 <= day <= 20:
            continue
        at = morning - day * DAY + random.randrange(0, 40 * 60_000)
        came = at + (30 * HOUR if day in (8, 9) else 4000)
        weight = 78.0 + random.gauss(0, 0.25) + (max(0, 4 - abs(day - 10)) * 0.5) + (1.1 if day == 0 else 0)
        high = 134 + random.gauss(0, 6)
        for device, kind, values in (
            ("bo-0045", "body-weight", {"weight": round(weight, 1)}),
            (
                "bp-rich",
                "blood-pressure",
                {"systolic": round(high), "diastolic": round(high * 0.6), "pulse": 71},
            ),
        ):
            readings.append(
                Reading(
                    device=device, seq=100 - day, kind=kind, measured_at_ms=at, values=values, offset_min=60,
                    received_at_ms=came, patient=RICH, context={},
                )
            )  # fmt: skip
    version = PlanVersion(
        version=1,
        from_=format_instant(NOW_MS - 90 * DAY),
        protocols=("heart-failure", "hypertension"),
        author="Dr Paul Hamelin",
        schedule={kind: Schedule(every_hours=24) for kind in ("body-weight", "blood-pressure")},
        dry_weight_kg=78.0,
    )
    evaluated(conn, CarePlan(patient=RICH, versions=(version,), care_team="caen"), readings)


def anticoagulated_patient(conn: psycopg.Connection[Any]) -> None:
    add_patient(conn, ANTICOAGULATED, "caen", 40, "heart-rate", NOW_MS)
    values = (2.4, 2.6, 2.2, 2.8, 3.4, 2.8, 2.5, 2.3, 2.6, 2.4, 4.3)
    readings = [
        Reading(
            device="he-0040", seq=seq, kind="inr", measured_at_ms=NOW_MS - 3 * HOUR - (len(values) - seq) * 16 * DAY,
            values={"inr": value}, offset_min=60, received_at_ms=NOW_MS - 3 * HOUR - (len(values) - seq) * 16 * DAY,
            patient=ANTICOAGULATED, context={},
        )
        for seq, value in enumerate(values, start=1)
    ]  # fmt: skip
    version = PlanVersion(
        version=1, from_=format_instant(NOW_MS - 180 * DAY), protocols=("anticoagulation",), author="Dr Paul Hamelin",
        inr_target=(2.0, 3.0),
    )  # fmt: skip
    evaluated(conn, CarePlan(patient=ANTICOAGULATED, versions=(version,), care_team="caen"), readings)


def evaluated(conn: psycopg.Connection[Any], plan: CarePlan, readings: list[Reading]) -> None:
    store_plan(conn, plan)
    run_engine(conn, Engine(load_published()), plan, readings, NOW_MS)


def synthetic_reading(conn: psycopg.Connection[Any], at_ms: int) -> None:
    conn.execute(
        """
        insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, "values", marks,
                                  received_at, stored_at)
        select to_timestamp(%(at)s / 1000.0), 'synthetic-1', 0, %(at)s / 1000, '\\x00000000000000000000000000000000',
               'p-synthetic', 'temperature', '{}', '{test}', to_timestamp(%(at)s / 1000.0),
               to_timestamp(%(at)s / 1000.0 + 1.2)""",
        {"at": at_ms},
    )


# ── the pictures ────────────────────────────────────────────────────────────────────────────────────────────


def queue(studio: Studio) -> None:
    studio.keep("queue-light", studio.page("/"))
    studio.keep("queue-dark", studio.page("/", color_scheme="dark"))
    studio.keep("queue-narrow", studio.page("/", size=NARROW))


def narrow(studio: Studio) -> None:
    page = studio.page("/", size=NARROW, color_scheme="dark")
    page.locator(".row").nth(1).evaluate("row => window.scrollTo(0, row.offsetTop - 8)")
    studio.keep("page-narrow", page)


def bulk(studio: Studio) -> None:
    page = studio.page("/")
    for box in page.locator('input[form="bulk"]').all()[:3]:
        box.check()
    studio.keep("page-bulk", page)


def resolve(studio: Studio) -> None:
    page = studio.page("/")
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.locator("dialog[open]").wait_for()
    studio.keep("page-resolve", page)


def snooze(studio: Studio) -> None:
    page = studio.page("/", color_scheme="dark", locale="fr-FR")
    page.keyboard.press("j")
    page.keyboard.press("s")
    page.locator("dialog[open]").wait_for()
    studio.keep("page-snooze-dark", page)


def patient(studio: Studio) -> None:
    path = f"/patients/{RICH}?days=30"
    studio.keep("ward-patient", studio.page(path, "medecin", MIDDLE))
    studio.keep("patient-light", studio.page("/patients/p-0000"))
    studio.keep("patient-dark", studio.page(path, "medecin", color_scheme="dark"))
    studio.keep("patient-narrow", studio.page(path, "medecin", NARROW))


def effect(studio: Studio) -> None:
    page = studio.page(f"/patients/{RICH}/plan", "medecin", (1020, 900))
    page.locator('[id="f-dry_weight_kg"]').fill("77")
    page.locator('[id="f-limit:heart-failure:weight-gain-1d:limit"]').fill("0.9")
    page.locator('[id="f-limit:heart-failure:weight-gain-1d:limit"]').press("Tab")
    page.locator("#preview .result").wait_for()
    studio.keep("ward-effect", page.locator("fieldset:has(#preview), section:has(#preview)").last)


def inr(studio: Studio) -> None:
    studio.keep("ward-inr", studio.page(f"/patients/{ANTICOAGULATED}/inr", "medecin", (1020, 1240)))


def team(studio: Studio) -> None:
    studio.keep("team-settings", studio.page("/teams/caen", "admin", MIDDLE))


def identity(studio: Studio) -> None:
    path = f"/patients/{RICH}/identity"
    studio.keep("identity-files", studio.page(f"{path}/files?other={TWICE}", "medecin", (1020, 1080)))
    studio.keep(
        "identity-erase-dark", studio.page(f"{path}/erase", "medecin", (1020, 820), color_scheme="dark")
    )
    studio.keep("identity-narrow", studio.page(path, size=NARROW, locale="fr-FR"))


def glass(studio: Studio) -> None:
    write_signals(
        studio.feed.conn, [one_signal("p-bayeux-1", 1, "7b0c6c9e-1f4e-4a8e-9c53-000000000001")], NOW_MS
    )
    client = studio.feed.client("infirmiere")
    said = {
        "csrf": csrf_of(client),
        "reason": "malaise au domicile, équipe injoignable",
        "patient": "p-bayeux-1",
    }
    assert client.post("/glass", data=said).status_code == 303
    studio.keep("glass-reading", studio.page("/patients/p-bayeux-1"))
    studio.feed.conn.execute(
        "insert into scad.administrator_contact values ('admin', 'mail', 'administration@example.org')"
    )
    studio.keep("glass-opened", studio.page("/glass/opened", "admin", MIDDLE))


def trail(studio: Studio) -> None:
    studio.keep("audit-trail", studio.page("/audit", "audit", MIDDLE))
    studio.keep("review", studio.page("/review", "medecin", MIDDLE))


def stalled(studio: Studio) -> None:
    """The last: the clock goes on, and no synthetic reading comes."""
    studio.feed.hands.now_ms += 4 * 60_000
    page = studio.page("/")
    page.locator(".fresh.broken").wait_for()
    studio.keep("page-stalled", page)


def french(studio: Studio) -> None:
    """Those of the nurse's guide."""
    studio.locale, studio.suffix, studio.only = "fr-FR", "-fr", OF_THE_GUIDE
    for one in (
        queue,
        narrow,
        bulk,
        resolve,
        snooze,
        patient,
        effect,
        inr,
        away,
        why,
        undone,
        quicker,
        stalled,
    ):
        one(studio)
    studio.locale, studio.suffix, studio.only = "en-GB", "", frozenset()


OF_THE_GUIDE = frozenset(
    {
        *("queue-light", "page-narrow", "page-bulk", "page-resolve", "page-snooze-dark", "ward-patient"),
        *(
            "ward-effect",
            "ward-inr",
            "ward-absences",
            "ward-why",
            "page-undo",
            "page-conflict",
            "page-stalled",
        ),
    }
)

PICTURES: dict[str, Callable[[Studio], None]] = {
    one.__name__: one
    for one in (
        queue,
        narrow,
        bulk,
        resolve,
        snooze,
        patient,
        effect,
        inr,
        team,
        identity,
        glass,
        trail,
        doors,
        enrolling,
        away,
        why,
        nothing,
        one_alert,
        tablet,
        undone,
        quicker,
        held,
        lost,
        stalled,
        french,
    )
}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(PICTURES))
    if unknown:
        raise SystemExit(f"no such picture: {', '.join(unknown)}; there are {', '.join(PICTURES)}")
    os.environ.setdefault(
        "SCAD_IDENTITY_KEYS", "1 " + base64.b64encode(b"a key that everybody may know ok").decode()
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user than root
        server = stack.enter_context(Postgres(Path(folder) / "postgres"))
        address = server.create_database()
        with psycopg.connect(address, autocommit=True) as conn:
            apply_schema(conn)
            make_ward(conn)
            add_patient(conn, "p-bayeux-1", "bayeux", 47, "body-weight", NOW_MS)
            with running(address, conn) as feed, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=str(chromium_program()), args=ARGUMENTS)
                studio = Studio(browser, feed)
                for name in names or PICTURES:
                    PICTURES[name](studio)
                browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
