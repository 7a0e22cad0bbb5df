"""Running a ward on pages: the patient's page, enrolment, devices, care plans, absences, typed-in values, INR."""

from __future__ import annotations

from fastapi import APIRouter

from alerts.feed.ward.care import care
from alerts.feed.ward.enrolling import enrolling
from alerts.feed.ward.inr import inr
from alerts.feed.ward.patient import patients
from alerts.feed.ward.plans import plans

ward = APIRouter()
for part in (patients, plans, care, inr, enrolling):
    ward.include_router(part)

__all__ = ["ward"]
