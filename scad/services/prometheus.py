"""A Prometheus server for tests: it scrapes what it is told, keeps it in its folder, and answers PromQL."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from scad.services.base import HOST, Service, free_port
from scad.services.places import ServiceError, prometheus_program

SCRAPE_SECONDS = 1
"""The shortest interval that leaves a rate two samples within a second or two."""
ANSWER_SECONDS = 10.0


class Prometheus(Service):
    """`targets`: by job, the `host:port` of each process to scrape. `rules`: files of rules to load."""

    name = "prometheus"
    ready_seconds: ClassVar[float] = 30.0

    def __init__(self, folder: Path, targets: Mapping[str, list[str]], rules: tuple[Path, ...] = ()) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._targets = targets
        self._rules = rules

    @property
    def version(self) -> str:
        said = subprocess.run([prometheus_program(), "--version"], capture_output=True, text=True).stdout
        found = re.search(r"\d+(\.\d+)+", said)
        return found[0] if found else said.strip()

    def prepare(self) -> None:
        jobs = [
            {"job_name": name, "static_configs": [{"targets": list(addresses)}]}
            for name, addresses in self._targets.items()
        ]
        every = f"{SCRAPE_SECONDS}s"
        document = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(path) for path in self._rules],
            "scrape_configs": jobs,
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(document))  # JSON is YAML

    @property
    def data(self) -> Path:
        """What it keeps; `promtool tsdb create-blocks-from` may write a past into it before the start."""
        return self.folder / "data"

    def command(self) -> list[str]:
        return [
            str(prometheus_program()),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
        ]

    def answers(self) -> bool:
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def ask(self, expression: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """What an instant query returns, now or at `at_s` (Unix seconds): `metric` and `value` of each series. Raises
        ServiceError with what the server says against the expression."""
        when = {} if at_s is None else {"time": f"{at_s}"}
        status, body = self._get("/api/v1/query?" + urlencode({"query": expression, **when}))
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":
            raise ServiceError(f"prometheus refuses {expression}: {answer.get('error', status)}")
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": answer["data"]["result"]}]
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every loaded rule, with `health` and `lastError`."""
        groups = json.loads(self._get("/api/v1/rules")[1])["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection(HOST, self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
