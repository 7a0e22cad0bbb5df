"""A caregiver's access: granted and withdrawn on the patient's page, opened with an invitation, and what it shows."""

from __future__ import annotations

from fastapi import APIRouter

from alerts.feed.caregiver.granting import granting
from alerts.feed.caregiver.joining import joining
from alerts.feed.caregiver.page import care_page

caregiver = APIRouter()
for part in (granting, joining, care_page):
    caregiver.include_router(part)

__all__ = ["caregiver"]
