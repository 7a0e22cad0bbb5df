"""The deployment's broker as an operator sees it, and devices with accounts and certificates."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from deployed import ROOT, ComposedMosquitto

from scad.services import wait_until
from scad.tls import client_context

LOG_SECONDS = 30.0


@dataclass(frozen=True)
class Devices:
    """Passwords of devices with accounts, and what makes a TLS context of the authority's or a device's."""

    secrets: Path
    passwords: dict[str, str]

    @property
    def authority(self) -> str:
        return (self.secrets / "ca_certificate").read_text()

    def context(self, device: str | None = None) -> ssl.SSLContext:
        """Trusts the authority; with a device it also shows the device's certificate."""
        folder = self.secrets / "devices"
        shown = [(folder / f"{device}.{end}").read_text() for end in ("crt", "key")] if device else []
        return client_context(self.authority, *shown)


class Broker(ComposedMosquitto):
    """mosquitto as deployed. What it says passes through the deployment's filter before a test sees it."""

    def said(self) -> str:
        """The log as an operator gets it."""
        return subprocess.run(
            ["awk", "-f", ROOT / "deploy/mosquitto-log.awk", self.log_path],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    @property
    def mark(self) -> int:
        """How much it has said so far."""
        return len(self.said())

    def says(self, words: str, since: int = 0) -> None:
        """Wait until these words stand in the log after `since`; fails with what stands there instead."""
        try:
            wait_until(lambda: words in self.said()[since:], LOG_SECONDS, words)
        except Exception:
            pytest.fail(f"{words!r} is not in the broker's log:\n{self.said()[since:]}", pytrace=False)
