"""The periodic report of a patient for the doctor in charge: one collection of figures, as HTML and as PDF."""

from __future__ import annotations
