"""What a run must remember to go on after a stop: its readings' time, its kinds of faults, how far it came."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from live_clients import Listener

REPOSITORY = Path(__file__).parents[2]
REPORT, DIARY, HEARD = "report.json", "diary.json", "browser.ids"


class Diary:
    """`diary.json` in the run's folder. Raises SystemExit when the folder holds what this run must not touch."""

    def __init__(self, folder: Path, asked: Mapping[str, int], end_ms: int | None) -> None:
        self._path = folder / DIARY
        self.said: dict[str, Any] = {}
        if self._path.exists():
            self.said = json.loads(self._path.read_text())
            if self.said["asked"] != asked or end_ms not in (None, self.said["end_ms"]):
                raise SystemExit(
                    f"{folder} holds another run ({self.said['asked']}, --end {self.said['end_ms']}): "
                    "ask for that, or for a new one with --again"
                )
            if self.said["failed"]:
                raise SystemExit(
                    f"{folder} holds a run that failed ({self.said['failed']}): look at it; --again begins anew"
                )
        elif (folder / REPORT).exists():
            raise SystemExit(f"{folder / REPORT} says what came of this run: --again begins anew")
        else:
            self.said = {"asked": dict(asked), "end_ms": end_ms or int(time.time() * 1000), "kinds": []}
            self.said |= {"done": 0, "counts": {}, "asked_of_faults": {}, "seen_of_faults": {}}
            self.said |= {"seconds": 0.0, "deaths": [], "begun": now(), "starts": 0, "failed": ""}
            self.said |= {"heard_after": None, "commits": []}
        self.note(
            starts=self.said["starts"] + 1,
            commits=list(dict.fromkeys([*self.said["commits"], commit()])),
        )

    def __getitem__(self, name: str) -> Any:
        return self.said[name]

    def note(self, **what: Any) -> None:
        """Remember; a stop in the middle leaves what was there before."""
        self.said |= what
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self.said))
        fresh.replace(self._path)

    def count(self, name: str, key: str, more: int = 1) -> None:
        self.said[name][key] = self.said[name].get(key, 0) + more
        self.note()

    def kinds(self, known: list[str]) -> list[str]:
        """The kinds of faults that the run began with."""
        if not self.said["kinds"]:
            self.note(kinds=known)
        missing = sorted(set(self.said["kinds"]) - set(known))
        if missing:
            raise SystemExit(f"the run began with {missing}, which this system does not allow now")
        return list(self.said["kinds"])

    def circumstances(self) -> dict[str, Any]:
        """Of the report: which code, when, and where."""
        return {
            "commits": self.said["commits"],
            "begun": self.said["begun"],
            "ended": now(),
            "starts": self.said["starts"],
            "end_ms": self.said["end_ms"],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {processor()}",
            "python": platform.python_version(),
            "load_average": [round(load, 1) for load in os.getloadavg()],
        }


class Browser(Listener):
    """A browser that writes down what it has heard, so that it is one and the same after a stop of the run."""

    def __init__(self, client: httpx.Client, folder: Path, diary: Diary) -> None:
        self._file = folder / HEARD
        before = [int(line) for line in self._file.read_text().split()] if self._file.exists() else []
        self.heard = before
        last = before[-1] if before else diary["heard_after"]
        super().__init__(client, last)
        if diary["heard_after"] is None:
            diary.note(heard_after=self.began_after)

    def _take(self, fields: dict[str, str]) -> None:
        if fields.get("event") == "alert":
            with self._file.open("a") as file:
                file.write(f"{int(fields['id'])}\n")
            self.heard.append(int(fields["id"]))
        super()._take(fields)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str:
    """The code that runs; `-dirty` when something tracked was changed."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a clone"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
