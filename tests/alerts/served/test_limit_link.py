"""From an alert to the limit that it went by."""

from __future__ import annotations

import re

from feed_server import RunningFeed


def test_an_alert_leads_to_the_plans_field_of_its_own_limit(ward: RunningFeed):
    nurse, auditor = ward.client("infirmiere"), ward.client("audit")
    asked = (
        "select alert::text, rule, patient from scad.alert where patient like 'p-00%' order by patient, alert"
    )
    alerts, fields = ward.conn.execute(asked).fetchall(), set()
    for alert, rule, patient in {row[1]: row for row in alerts}.values():  # one of each rule
        if nurse.get(f"/alerts/{alert}").status_code == 404:
            continue  # of another team
        answer = nurse.get(f"/alerts/{alert}/limit")
        assert answer.status_code == 303, rule
        page, _, field = answer.headers["location"].partition("#")
        assert page == f"/patients/{patient}/plan"
        if field:
            assert f":{rule}:" in field
            assert f'id="{field}"' in nurse.get(page).text, field
            fields.add(rule)
        else:
            assert rule in ("no-reading", "device-fault", "clock-fault", "inr-overdue")
    assert len(fields) > 5
    link = f'href="/alerts/{alert}/limit"'
    assert link in nurse.get(f"/alerts/{alert}").text
    assert link not in auditor.get(f"/alerts/{alert}").text
    assert re.search(r'data-below="/limit">Adjust the limit', nurse.get("/").text)
