"""`scad check`: a deployment tested from one end to the other, in words.

Each part returns what it found: what is in order in one line, what is not with its remedy. Nothing is changed, and no
check raises for what a deployment can do wrong.
"""

from __future__ import annotations

from scad.checks.finding import Finding, fault, fine, warning
from scad.checks.run import check_all

__all__ = ["Finding", "check_all", "fault", "fine", "warning"]
