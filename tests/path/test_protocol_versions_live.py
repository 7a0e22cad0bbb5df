"""A protocol's new version reaches workers that run: published by the command, in force without a restart."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from deployment import Deployment, Reader, Running, publish, run

from devices.times import format_instant
from streams import topics
from streams.kafka import Record

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
NOW_MS = int(time.time() * 1000)  # what is measured must lie within the horizon of the worker's clock
PATIENTS = ("p-a", "p-b", "p-c", "p-d", "p-e", "p-f")


def weights(days_ago: float, kg: float, seq: int) -> list[Record]:
    """One weight of each patient."""
    at = format_instant(NOW_MS - int(days_ago * DAY_MS))
    reading = {"v": 1, "device": "", "seq": seq, "kind": "body-weight", "measured_at": at,
               "received_at": at, "values": {"weight": kg}}  # fmt: skip
    return [
        Record(
            topics.READINGS,
            name.encode(),
            msgspec.json.encode(reading | {"device": f"s-{name}", "patient": name}),
        )
        for name in PATIENTS
    ]


def plans() -> list[Record]:
    version = {"version": 1, "from": format_instant(NOW_MS - 6 * DAY_MS), "protocols": ["heart-failure"],
               "schedule": {"body-weight": {"every_hours": 120}}}  # fmt: skip
    return [
        Record(
            topics.CARE_PLANS, name.encode(), msgspec.json.encode({"patient": name, "versions": [version]})
        )
        for name in PATIENTS
    ]


def with_limit(folder: Path, limit: float, version: str) -> Path:
    text = (ROOT / "streams" / "protocols" / "heart-failure.toml").read_text(encoding="utf-8")
    text = text.replace('version = "2026.1"', f'version = "{version}"')
    text = text.replace("at_least = 2.0\nclear = 1.5", f"at_least = {limit}\nclear = {limit - 0.5}")
    (folder / f"{version}.toml").write_text(text, encoding="utf-8")
    return folder / f"{version}.toml"


class Command:
    """`scad protocol` against the deployment's broker."""

    def __init__(self, deployment: Deployment) -> None:
        given = {key: value for key, value in deployment.given.items() if key in ("kafka", "partitions")}
        self._environ = {f"SCAD_{key.upper()}": str(value) for key, value in given.items()}

    async def __call__(self, *arguments: str, status: int = 0) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "scad", "protocol", *arguments],
            env={"PATH": "", **self._environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr


def gains(reader: Reader, state: str, version: str) -> dict[str, Any]:
    """The signals of weight-gain-3d in a state by a version of the protocol, by patient."""
    return {
        signal["patient"]: signal
        for signal in reader.values(topics.ALERTS)
        if (signal["rule"], signal["state"], signal["protocol_version"]) == ("weight-gain-3d", state, version)
    }


def worker(deployment: Deployment, name: str) -> Running:
    return deployment._start(name, [sys.executable, "-m", "scad", "worker", "--without-writer"], {})


def test_a_version_published_while_workers_run_holds_for_every_patient_and_can_be_withdrawn(
    deployment: Deployment, tmp_path: Path
) -> None:
    async def main() -> None:
        scad_protocol = Command(deployment)
        await publish(deployment.settings, [*plans(), *weights(2.5, 80.0, 1), *weights(2, 82.1, 2)])
        async with Reader(deployment.settings, topics.ALERTS, topics.QUARANTINE) as reader:
            workers = [worker(deployment, name) for name in ("w1", "w2")]
            await reader.until(
                lambda: len(gains(reader, "raised", "2026.1")) == len(PATIENTS), "the gains of 2.1 kg"
            )
            begins = format_instant(NOW_MS - 3 * DAY_MS)
            wider = str(with_limit(tmp_path, 4.0, "2026.2"))
            told = await scad_protocol("publish", wider, "--from", begins, "--author", "Dr Martin")
            assert "protocol:heart-failure:2026.2 is published" in told
            await reader.until(
                lambda: (
                    {s["reason"] for s in gains(reader, "cleared", "2026.1").values()} == {"protocol"}
                    and len(gains(reader, "cleared", "2026.1")) == len(PATIENTS)
                ),
                "the withdrawal of all gains",
            )
            await publish(deployment.settings, weights(0.5, 84.2, 3))
            await reader.until(
                lambda: len(gains(reader, "raised", "2026.2")) == len(PATIENTS), "gains of 4.2 kg"
            )

            assert "published already" in await scad_protocol(
                "publish", wider, "--from", begins, "--author", "Dr Martin"
            )
            other = format_instant(NOW_MS)
            assert "is never changed" in await scad_protocol("publish", wider, "--from", other, status=1)
            assert "heart-failure  2026.2  from" in await scad_protocol("list")
            broken = msgspec.json.encode({"protocol": "heart-failure", "version": "9", "from": begins,
                                          "document": {"name": "heart-failure", "version": "9"}})  # fmt: skip
            await publish(
                deployment.settings, [Record(topics.CARE_PLANS, b"protocol:heart-failure:9", broken)]
            )
            await reader.until(lambda: bool(reader.records[topics.QUARANTINE]), "the refusal")
            (refused,) = reader.values(topics.QUARANTINE)
            assert "protocol:heart-failure:9: rule no-reading: statistic" in refused["detail"]

            await scad_protocol("withdraw", "heart-failure", "2026.2")
            await reader.until(
                lambda: len(gains(reader, "updated", "2026.1")) == len(PATIENTS), "the release's own limit"
            )
            assert [running.stop() for running in workers] == [0, 0]

    run(main())
