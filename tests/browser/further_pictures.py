"""Pictures of states that somebody has to bring about first: for take_screenshots.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

from feed_server import csrf_of
from made_up_ward import DAY, HOUR, NOW_MS, one_signal

from alerts.store import write_signals
from devices.times import to_datetime

if TYPE_CHECKING:
    from take_screenshots import Studio

RICH = "p-rich"
SMALL = (1020, 900)
TABLET = (800, 640)


def held(studio: Studio) -> None:
    """New rows wait while the pointer is on one."""
    page = studio.page("/")
    page.locator(".row").nth(4).hover()  # what is graver would stand above it
    quiet = studio.feed.conn.execute(
        """select patient from scad.patient p where care_team = 'caen' and patient like 'p-0%' and not exists (
               select from scad.alert a where a.patient = p.patient and a.class = 'clinical'
                  and a.state in ('open', 'escalated', 'acknowledged', 'in-progress'))
           order by patient limit 3"""
    ).fetchall()
    for (patient,) in quiet:
        (n,) = studio.feed.conn.execute(
            "select coalesce(max(n), 0) + 1 from scad.alert_event where patient = %s", (patient,)
        ).fetchone() or (1,)
        write_signals(studio.feed.conn, [one_signal(patient, n, str(uuid4()), rule="temperature")], NOW_MS)
    page.locator("#held", has_text=f"{len(quiet)} new").wait_for()
    studio.keep("page-held", page)


def lost(studio: Studio) -> None:
    page = studio.page("/review")
    page.route("**/api/stream*", lambda route: route.abort())
    page.goto(studio.feed.url)
    page.locator("#live.lost").wait_for()
    studio.keep("page-lost", page)
    page.context.close()


def undone(studio: Studio) -> None:
    """The message that offers to undo."""
    page = studio.page("/")
    page.locator(".alert.waiting button").first.click()
    page.locator("#toasts button").wait_for()
    page.locator(".alert .seen").first.wait_for()
    page.mouse.move(2, 2)
    studio.keep("page-undo", page)
    page.locator("#toasts button").click()
    page.locator("#toasts").get_by_text(re.compile("Undone|Annulé")).wait_for()


def quicker(studio: Studio) -> None:
    """A colleague acknowledged what this page still shows as open."""
    page, colleague = studio.page("/", "medecin"), studio.page("/")
    page.route("**/queue/rows*", lambda route: route.abort())
    item = colleague.locator(".alert.waiting").first
    which = str(item.get_attribute("id"))
    item.locator("button").first.click()
    colleague.locator("#toasts button").wait_for()
    page.locator(f'[id="{which}"] button').first.click()
    page.locator("#toasts p, #toasts div").first.wait_for()
    page.mouse.move(2, 2)
    studio.keep("page-conflict", page)
    colleague.locator("#toasts button").click()
    colleague.locator("#toasts").get_by_text(re.compile("Undone|Annulé")).wait_for()


def nothing(studio: Studio) -> None:
    studio.keep("queue-empty", studio.page("/", "vire", (1180, 560)))


def one_alert(studio: Studio) -> None:
    found = studio.feed.conn.execute(
        """select alert::text from scad.alert where patient = 'p-0000' and rule = 'weight-gain-3d'
           order by opened_at desc limit 1"""
    ).fetchone()
    assert found is not None
    (alert,) = found
    page = studio.page(f"/alerts/{alert}", size=(1180, 1600))
    studio.keep("alert-page", page)


def doors(studio: Studio) -> None:
    studio.keep("login", studio.page("/login", "", (900, 620)))
    studio.keep("login-second-factor", studio.page("/login/second-factor", "medecin", (900, 760)))


def enrolling(studio: Studio) -> None:
    studio.keep("ward-enrol", studio.page("/enrol", size=(1020, 1180)))


def away(studio: Studio) -> None:
    """A stay in hospital to come, a holiday that is over."""
    known = studio.feed.conn.execute(
        "select count(*) from scad.absence where patient = %s", (RICH,)
    ).fetchone()
    if known == (0,):
        for kind, start, days in (("hospital", NOW_MS + 4 * DAY, 5), ("holiday", NOW_MS - 40 * DAY, 9)):
            studio.feed.conn.execute(
                """insert into scad.absence (patient, from_at, to_at, kind, recorded_by, recorded_at, begun)
                   values (%s, %s, %s, %s, 'infirmiere', %s, %s)""",
                (
                    *(RICH, to_datetime(start), to_datetime(start + days * DAY), kind),
                    *(to_datetime(min(start, NOW_MS) - HOUR), start < NOW_MS),
                ),
            )
    studio.keep("ward-absences", studio.page(f"/patients/{RICH}/absences", size=SMALL))


def why(studio: Studio) -> None:
    path = f"/patients/{RICH}/why?at=2026-11-20T12:00"
    studio.keep("ward-why", studio.page(path, size=(1020, 720)))


def tablet(studio: Studio) -> None:
    """A question, and what a red answer is told at once."""
    nurse = studio.feed.client("infirmiere")
    given_out = nurse.post(f"/patients/{RICH}/tablet", data={"csrf": csrf_of(nurse)}).text
    code = re.search(r'class="code">(\d{4} \d{4})<', given_out)
    assert code is not None
    page = studio.page("/tablet", "", TABLET)
    page.locator("input").fill(code[1])
    page.keyboard.press("Enter")
    page.locator("button.go").click()
    page.locator("#q").wait_for()
    studio.keep("tablet-question", page)
    page.locator("button[name=choice]").last.click()
    page.locator(".alarm").wait_for()
    studio.keep("tablet-red", page)
    page.context.close()
