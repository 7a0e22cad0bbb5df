"""From a patient's page to the dashboard, where the settings name a Grafana."""

from __future__ import annotations

from feed_server import RunningFeed

from alerts.dashboards.patient import UID


def test_the_patients_page_links_to_the_dashboard_where_there_is_one(feed: RunningFeed):
    browser = feed.client("infirmiere")
    assert UID not in browser.get("/patients/p-caen").text
    feed.feed.templates.globals["grafana_url"] = "https://grafana.example.org/"
    text = browser.get("/patients/p-caen").text
    assert f'href="https://grafana.example.org/d/{UID}?var-patient=p-caen"' in text
