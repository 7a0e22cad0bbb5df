"""Figures of this process for Prometheus. No label names a patient or a person."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds; a page is meant to answer within 100 ms, the pool gives up after 5 s.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class FeedMetrics:
    """One set per application, on a registry of its own, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "scad_feed_request_seconds",
            "Time to answer by route, method and status; streams count until their first byte",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.streams = Gauge("scad_feed_streams", "Browsers that listen now", registry=self.registry)
        self.events = Counter(
            "scad_feed_events", "Steps of alerts handed on to browsers", registry=self.registry
        )
        self.cut_off = Counter(
            "scad_feed_streams_cut_off",
            "Streams ended because the browser was too slow",
            registry=self.registry,
        )
        self.logins = Counter(
            "scad_feed_logins",
            "Log-ins by outcome: success, refused, locked, limited",
            ["outcome"],
            registry=self.registry,
        )
        self.glass = Counter(
            "scad_feed_glass",
            "Files of other teams that somebody opened with a reason",
            registry=self.registry,
        )
        self.actions = Counter(
            "scad_feed_actions",
            "People's actions on alerts by result: done, or the name of the refusal",
            ["action", "result"],
            registry=self.registry,
        )
        self.alerts = Gauge(
            "scad_feed_alerts",
            "Alerts that stand, of all teams",
            ["class", "severity", "state"],
            registry=self.registry,
        )
        self.database_bytes = Gauge(
            "scad_database_bytes", "What the database takes on its disk", registry=self.registry
        )
        self.connections = Gauge(
            "scad_database_connections", "Connections to the database's server in use", registry=self.registry
        )
        self.connections_max = Gauge(
            "scad_database_connections_max",
            "Connections that the database's server allows",
            registry=self.registry,
        )
        self.round_trip = Gauge(
            "scad_synthetic_round_trip_seconds",
            "How long the last synthetic reading took from its device to the database, by the wall's clock",
            registry=self.registry,
        )
        self.path_age = Gauge(
            "scad_synthetic_age_seconds",
            "Since when the last synthetic reading that arrived was measured, by the wall's clock",
            registry=self.registry,
        )

    def room(self, size: int, connections: int, most: int) -> None:
        """What the database takes of what it may."""
        self.database_bytes.set(size)
        self.connections.set(connections)
        self.connections_max.set(most)

    def path(self, round_trip_s: float, age_s: float) -> None:
        """What the last synthetic reading said."""
        self.round_trip.set(round_trip_s)
        self.path_age.set(age_s)
