"""The dashboards' previews in a browser, with what the real database answers: nothing missing, nothing cut off."""

from __future__ import annotations

import psycopg
from dashboard_pictures import WIDTH, drawn
from dashboards_fixture import add_to_ward, as_grafana, grant
from playwright.sync_api import Browser

from scad.services import Postgres

DATABASE = "scad_dashboards_drawn"
SEEN = """() => [...document.querySelectorAll("section")].map(s => {
    const b = s.getBoundingClientRect();
    return {title: s.querySelector("h3").firstChild.textContent, empty: s.innerText.includes("No data"),
            wide: s.scrollWidth - s.clientWidth, high: s.scrollHeight - s.clientHeight,
            shown: b.width > 0 && b.height > 0 && b.left >= 0 && b.right <= window.innerWidth};
})"""


def test_every_panel_of_every_dashboard_is_there_has_data_and_nothing_is_cut_off(
    postgres: Postgres, ward_template: str, browser: Browser
):
    address = postgres.create_database(DATABASE, template=ward_template)
    with psycopg.connect(address, autocommit=True) as owner:
        add_to_ward(owner)
        grant(postgres, DATABASE, owner)
    context = browser.new_context(viewport={"width": WIDTH, "height": 800})
    view = context.new_page()
    problems: list[str] = []
    view.on("pageerror", lambda error: problems.append(str(error)))
    with as_grafana(postgres, DATABASE) as reader:
        for name, board, answers, text in drawn(reader):
            view.set_content(text)
            seen = view.evaluate(SEEN)
            assert [one["title"] for one in seen] == [panel.title for panel in board.panels], name
            assert {one["title"] for one in seen if one["empty"]} == set(), name
            assert not [
                key for key, answer in answers.items() if key[1] and answer.empty and key[1] == "A"
            ], name
            assert [one for one in seen if not one["shown"] or one["wide"] > 1 or one["high"] > 1] == [], name
            assert view.evaluate("document.documentElement.scrollWidth") <= WIDTH, name
    context.close()
    postgres.drop_database(address)
    assert problems == []
