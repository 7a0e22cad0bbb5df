"""What leaves the platform as files: the usage extract of a month, and pseudonymised data for research."""

from __future__ import annotations
