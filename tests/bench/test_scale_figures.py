"""What the page about a million patients is made of: one bottleneck with its remedy, and what is saved."""

from __future__ import annotations

from typing import Any

from bench import recovery, scale
from bench.tables import MORE

COSTS: dict[str, Any] = {
    "process_us": {
        "mosquitto": 10.0,
        "bridge": 100.0,
        "worker": 400.0,
        "feed": 0.0,
        "kafka": 400.0,
        "postgres": 90.0,
    },
    "idle_cores": {"kafka": 0.05, "worker": 0.02},
    "path_us": 1_000.0,
    "path_us_together": 500.0,
    "kafka_bytes": 500,
    "kafka_bytes_together": 400,
    "database_bytes": 600.0,
    "database_bytes_compressed": 200.0,
    "rows_per_second": 9_000,
    "memory_gib_per_million": 8.0,
    "evaluation_us": {"body-weight": 40.0, "glucose": 10.0},
}
SENT: dict[str, Any] = {
    "kinds_a_day": {"body-weight": 1.0, "glucose": 30.0},
    "protocols": {"heart-failure": {"body-weight": 1.0}, "diabetes": {"glucose": 120.0}},
    "peak_hour_times_mean": 4.0,
}


def test_what_takes_the_fewest_readings_a_second_saturates_first_and_has_a_remedy() -> None:
    found = scale.million(SENT, COSTS)
    assert found["saturates_first"] == {
        "what": "worker", "readings_per_second": 2_500, "then": scale.REMEDIES["worker"],
    }  # fmt: skip
    assert next(iter(found["one_process_takes"])) == "worker"
    assert found["one_process_takes"]["postgres"] == COSTS["rows_per_second"]
    assert found["database_nodes"] == 1
    first = scale.limits_table({"million": found}).splitlines()[2]
    assert first.startswith("| **worker** | 2,500 |")


def test_brokers_and_workers_that_wait_take_current_too() -> None:
    found = scale.million(SENT, COSTS)
    cores = found["brokers"] * 0.05 + found["workers"] * 0.02
    assert found["watts_idle"] == round(cores * scale.WATTS_PER_CORE, 1)


def test_what_is_saved_is_said_with_and_without() -> None:
    state = {"state": {"memory_median": 10_240, "bytes_median": 1_024}}
    saved = scale.saved(SENT, COSTS, {"mixes": {scale.DAILY: state, scale.SENSOR: state}})
    assert all(of["without"] > of["with"] > 0 for of in saved.values())
    assert len(scale.saved_table({"saved": saved}).splitlines()) == 2 + len(saved)
    assert "glucose 120" in scale.schedule_table({"sent": SENT})


def test_the_slowest_batches_are_those_between_two_scrapes() -> None:
    def scraped(*numbers: float) -> dict[str, float]:
        bounds = ("0.1", "1.0", "+Inf")
        name = 'scad_worker_batch_seconds_bucket{agent="thresholds",le="%s"}'
        return {name % bound: number for bound, number in zip(bounds, numbers, strict=True)}

    assert recovery.batch_at(0.99, scraped(0, 50, 50), scraped(100, 150, 150)) == 0.1
    assert recovery.batch_at(0.99, scraped(0, 50, 50), scraped(50, 150, 150)) == 1.0


def test_every_further_table_has_a_name_of_its_own_and_a_result() -> None:
    assert {result for result, _ in MORE.values()} <= {
        "engine", "writer", "bridge", "latency", "recovery", "database", "scale",
    }  # fmt: skip
