"""Rolling statistics by the name that a protocol file uses."""

from __future__ import annotations

from collections.abc import Callable

from streams.rolling.base import PERSONAL_FACTS, Measure, Moment, Parameters, Personal, Ref, Statistic, ref
from streams.rolling.composite import Composite
from streams.rolling.implant import ImplantEvent
from streams.rolling.inr import Inr, TimeInRange
from streams.rolling.personal import Cusum, Macd, PersonalZ, PressureSession
from streams.rolling.pressure import Pressure, WeekMean
from streams.rolling.rhythm import Fibrillation, Pause, Rate
from streams.rolling.share import GlucoseShare
from streams.rolling.simple import Glucose, Value
from streams.rolling.smooth import EwmaChart, Slope
from streams.rolling.symptoms import SymptomGrade
from streams.rolling.technical import ClockFault, DeviceFault
from streams.rolling.trend import GlucoseTrend
from streams.rolling.vital import News2, Saturation
from streams.rolling.weight import AboveDryWeight, Gain, Loss

STATISTICS: dict[str, Callable[[Parameters], Statistic]] = {
    "gain": Gain,
    "loss": Loss,
    "above-dry-weight": AboveDryWeight,
    "blood-pressure": Pressure,
    "blood-pressure-week-mean": WeekMean,
    "value": Value,
    "glucose": Glucose,
    "heart-rate": Rate,
    "atrial-fibrillation": Fibrillation,
    "pause": Pause,
    "implant-event": ImplantEvent,
    "composite": Composite,
    "symptom-grade": SymptomGrade,
    "cusum": Cusum,
    "macd": Macd,
    "personal-z": PersonalZ,
    "pressure-session": PressureSession,
    "oxygen-saturation": Saturation,
    "news2": News2,
    "inr": Inr,
    "time-in-therapeutic-range": TimeInRange,
    "glucose-trend": GlucoseTrend,
    "glucose-share": GlucoseShare,
    "ewma-chart": EwmaChart,
    "local-trend": Slope,
    "device-fault": DeviceFault,
    "clock-fault": ClockFault,
}

__all__ = [
    "PERSONAL_FACTS",
    "STATISTICS",
    "Measure",
    "Moment",
    "Parameters",
    "Personal",
    "Ref",
    "Statistic",
    "ref",
]
