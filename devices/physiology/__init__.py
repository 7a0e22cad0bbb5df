"""Simulated patients: what a body does, what devices make of it, and what truly happened when.

A module per signal; `parameters` holds every number with its source; `course` decides the illnesses;
`defects` spoils the data as real life does; `cohort` puts it together. Nothing here knows a rule or a
detector, and no number was chosen by looking at one.
"""

from devices.physiology.cohort import Cohort, SimulatedPatient, SimulatedReading
from devices.physiology.series import Label

__all__ = ["Cohort", "Label", "SimulatedPatient", "SimulatedReading"]
