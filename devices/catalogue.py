"""The catalogue: every kind of reading as data. Values, units, ranges, context words and codes.

Sources: the contract's table for names, units and words; clinical reference 8.1 for the plausible ranges
(outside them a value is refused, not doubted) and the codes. Codes that the reference does not give are
marked where they stand; a code that could not be confirmed is None rather than a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

FLAGS: Final = frozenset(
    {
        "irregular-pulse",
        "movement",
        "cuff-loose",
        "wrong-position",
        "pulse-out-of-range",
        "contact-lost",
        "low-battery",
        "device-fault",
        "sample-insufficient",
        "strip-fault",
        "temperature-out-of-range",
        "control-solution",
        "sensor-warmup",
        "clock-unset",
        "test",
        "manual",
    }
)

CONTEXT: Final[dict[str, tuple[str, ...]]] = {
    "meal": ("fasting", "before-meal", "after-meal", "bedtime", "night"),
    "posture": ("sitting", "lying", "standing"),
    "arm": ("left", "right"),
    "sample": ("capillary", "interstitial"),
    "activity": ("rest", "active"),
    "oxygen": ("air", "supplemental"),
}
"""Every context key with its words. Any of them is accepted with any kind (that a patient rested is no
reason to refuse a saturation); what a kind's rules look at stands in `Kind.context`."""

KG_PER_LB: Final = 0.45359237  # exact by definition (international pound, 1959)
MMHG_PER_KPA: Final = 7.500617  # conventional mmHg, the figure of the contract's reference
MG_DL_PER_MMOL_L: Final = 18.0  # the clinical convention (reference section 3), not the molar mass's 18.016


@dataclass(frozen=True, slots=True)
class Conversion:
    """canonical = value * factor + offset.

    `step` is the last digit that devices show in this unit. A limit is exceeded only by more than half of
    it: a sensor that tops out at 500 mg/dL says 27.8 mmol/L, which would be 500.4 and must not be lost.
    """

    factor: float
    offset: float = 0.0
    step: float = 0.0

    def canonical(self, value: float) -> float:
        """The value in the kind's first unit, rounded at 1e-6 so that float noise does not travel."""
        return round(value * self.factor + self.offset, 6)

    @property
    def slack(self) -> float:
        return self.step * self.factor / 2


@dataclass(frozen=True, slots=True)
class Number:
    """A number; `low` and `high` are inclusive and in `ucum`. `converted`: the message's `unit` applies."""

    low: float
    high: float
    ucum: str
    meaning: str
    optional: bool = False
    converted: bool = False
    whole: bool = False
    loinc: str | None = None
    mdc: int | None = None
    narrower: tuple[str, str, float, float] | None = None
    """(context key, word, low, high): the range where the context says so."""


@dataclass(frozen=True, slots=True)
class Truth:
    """True or false."""

    meaning: str
    optional: bool = True


@dataclass(frozen=True, slots=True)
class Word:
    """One of a closed list of words."""

    words: tuple[str, ...]
    meaning: str
    optional: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """An array of 1 to `most` numbers, each within `low` to `high`."""

    low: float
    high: float
    most: int
    ucum: str
    meaning: str
    optional: bool = False
    mdc: int | None = None


@dataclass(frozen=True, slots=True)
class Samples16:
    """Base64 of little-endian signed 16-bit counts, 1 to `most` of them."""

    most: int
    meaning: str
    optional: bool = True


Spec = Number | Truth | Word | Series | Samples16


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of reading. `units` are UCUM, the first is canonical; empty where a kind has none."""

    name: str
    meaning: str
    units: tuple[str, ...]
    values: dict[str, Spec]
    conversions: dict[str, Conversion] = field(default_factory=dict)
    context: tuple[str, ...] = ("meal", "posture", "arm")
    loinc: tuple[str, ...] = ()
    mdc: int | None = None
    gatt: tuple[str, ...] = ()

    @property
    def unit(self) -> str | None:
        """The canonical unit."""
        return self.units[0] if self.units else None

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.values.items() if not spec.optional)


# Widths that the reference does not give: they refuse what no device can mean, nothing that a patient has.
RR_USABLE_MS: Final = (150.0, 5000.0)  # contract: intervals outside are masked by the statistics, not refused
RR_LONGEST_MS: Final = 600_000.0  # ten minutes without a beat is a gap in a recording; longer is a wrong unit
MAX_INTERVALS: Final = 150_000  # a day at 100 beats a minute, for files; MQTT's 256 KiB hold fewer
MAX_SAMPLES: Final = 500_000  # sixteen minutes at 500 Hz; MQTT's 256 KiB hold 98 304 samples
ECG_LARGEST_MV: Final = 500.0  # ±300 mV of electrode offset is what amplifiers must bear (IEC 60601-2-47)

_PULSE: Final = "8867-4"


def _severity(meaning: str) -> Number:
    return Number(0, 3, "{score}", meaning, optional=True, whole=True)


_KINDS: Final = (
    Kind(
        "body-weight",
        "Body mass on a scale",
        ("kg", "[lb_av]"),
        {
            "weight": Number(
                22.7, 340.2, "kg", "Body weight", converted=True, loinc="29463-7", mdc=188736
            ),  # Chan & Raffa 2017, by reference 8.1
        },
        conversions={"[lb_av]": Conversion(KG_PER_LB, step=0.1)},
        loinc=("29463-7",),
        mdc=188736,
        gatt=("2A9D",),
    ),
    Kind(
        "blood-pressure",
        "Non-invasive blood pressure by cuff",
        ("mm[Hg]", "kPa"),
        {
            "systolic": Number(
                50, 280, "mm[Hg]", "Systolic pressure", converted=True, loinc="8480-6", mdc=150021
            ),
            "diastolic": Number(
                30, 180, "mm[Hg]", "Diastolic pressure", converted=True, loinc="8462-4", mdc=150022
            ),
            "mean": Number(
                35,
                220,
                "mm[Hg]",
                "Mean pressure",
                optional=True,
                converted=True,
                loinc="8478-0",
                mdc=150023,
            ),
            "pulse": Number(
                20, 300, "/min", "Pulse during the measurement", optional=True, loinc=_PULSE, mdc=149546
            ),
        },
        conversions={"kPa": Conversion(MMHG_PER_KPA, step=0.1)},
        loinc=("85354-9",),
        mdc=150020,
        gatt=("2A35",),
    ),
    Kind(
        "glucose",
        "Glucose, capillary by meter or interstitial by sensor (context `sample`)",
        ("mg/dL", "mmol/L", "g/L"),
        {
            "glucose": Number(
                10,
                1000,
                "mg/dL",
                "Glucose concentration",
                converted=True,
                loinc="2339-0",
                mdc=160184,
                narrower=("sample", "interstitial", 39, 500),
            ),
        },
        conversions={
            "mmol/L": Conversion(MG_DL_PER_MMOL_L, step=0.1),
            "g/L": Conversion(100.0, step=0.01),
        },
        context=("meal", "posture", "arm", "sample"),
        loinc=("2339-0", "41653-7", "99504-3"),  # blood, capillary meter, interstitial
        mdc=160184,
        gatt=("2A18", "2AA7"),
    ),
    Kind(
        "heart-rate",
        "Heart rate",
        ("/min",),
        {"heart_rate": Number(20, 300, "/min", "Heart rate", converted=True, loinc=_PULSE, mdc=147842)},
        context=("meal", "posture", "arm", "activity"),
        loinc=(_PULSE,),
        mdc=147842,
        gatt=("2A37",),
    ),
    Kind(
        "rr-intervals",
        "Successive intervals between heart beats; measured_at is the instant of the first",
        ("ms",),
        {
            "rr": Series(
                0, RR_LONGEST_MS, MAX_INTERVALS, "ms", "Intervals in the order of the beats", mdc=147240
            )  # MDC_ECG_TIME_PD_RR_GL, as the German MII cardiology guide codes it
        },
        mdc=147240,
    ),
    Kind(
        "ecg",
        "One lead of an electrocardiogram; measured_at is the instant of the first sample",
        ("mV",),
        {
            "fs": Number(25, 10_000, "Hz", "Sampling frequency"),
            "samples": Series(-ECG_LARGEST_MV, ECG_LARGEST_MV, MAX_SAMPLES, "mV", "Samples", optional=True),
            "samples_i16": Samples16(MAX_SAMPLES, "Samples as counts"),
            "gain": Number(0.001, 1e6, "/mV", "Counts per millivolt of samples_i16", optional=True),
        },
        loinc=("11524-6",),  # EKG study; by LOINC, not in the reference
        mdc=131328,  # MDC_ECG_ELEC_POTL, as FHIR's own example of a sampled ECG codes it
    ),
    Kind(
        "oxygen-saturation",
        "Oxygen saturation by pulse oximeter",
        ("%",),
        {
            "spo2": Number(
                50, 100, "%", "Arterial oxygen saturation", converted=True, loinc="59408-5", mdc=150456
            ),
            "pulse": Number(20, 300, "/min", "Pulse by oximeter", optional=True, loinc=_PULSE, mdc=149530),
        },
        context=("meal", "posture", "arm", "oxygen"),
        loinc=("2708-6", "59408-5"),
        mdc=150456,
        gatt=("2A5E", "2A5F"),
    ),
    Kind(
        "temperature",
        "Body temperature",
        ("Cel", "[degF]"),
        {
            "temperature": Number(
                30, 45, "Cel", "Body temperature", converted=True, loinc="8310-5", mdc=150364
            )
        },
        conversions={"[degF]": Conversion(5 / 9, -160 / 9, step=0.1)},
        loinc=("8310-5",),
        mdc=150364,
        gatt=("2A1C",),
    ),
    Kind(
        "respiratory-rate",
        "Breaths a minute",
        ("/min",),
        {
            "respiratory_rate": Number(
                3, 70, "/min", "Respiratory rate", converted=True, loinc="9279-1", mdc=151562
            )
        },
        loinc=("9279-1",),
        mdc=151562,
    ),
    Kind(
        "inr",
        "International normalised ratio of the prothrombin time",
        ("{INR}",),
        {"inr": Number(0.5, 15, "{INR}", "INR", converted=True, loinc="34714-6", mdc=160260)},
        loinc=("34714-6", "6301-6"),  # whole blood (meters), plasma (laboratory)
        mdc=160260,
    ),
    Kind(
        "ketones",
        "Beta-hydroxybutyrate in blood by test strip",
        ("mmol/L",),
        # Meters read 0 to 8 mmol/L; severe ketoacidosis stays below 30.
        {"ketones": Number(0, 30, "mmol/L", "Blood ketones", converted=True, loinc="66441-7")},
        loinc=("66441-7",),  # by LOINC, not in the reference
    ),
    Kind(
        "symptoms",
        "The patient's answers to the daily questions; any of them, at least one",
        (),
        {
            "dyspnoea": _severity("Breathlessness, 0 none to 3 at rest"),
            "oedema": _severity("Swelling, 0 none to 3 severe"),
            "fatigue": _severity("Fatigue, 0 none to 3 severe"),
            "cough": _severity("Cough, 0 none to 3 severe"),
            "orthopnoea_pillows": Number(
                0, 6, "{pillow}", "Pillows needed to sleep", optional=True, whole=True
            ),
            "night_dyspnoea": Truth("Woke up breathless"),
            "dizziness": Truth("Light-headed or dizzy"),
            "syncope": Truth("Fainted"),
            "chest_pain": Truth("Chest pain"),
            "bleeding": Truth("Bleeding"),
            "missed_medication": Truth("Missed a dose"),
            "salt_lapse": Truth("Ate salty food"),
            "wellbeing": Word(("better", "same", "worse", "much-worse"), "Compared with yesterday"),
            "consciousness": Word(("A", "C", "V", "P", "U"), "Alert, confused, voice, pain, unresponsive"),
        },
    ),
    Kind(
        "implant-report",
        "An event that the remote follow-up of a pacemaker or defibrillator reports",
        ("%",),
        {
            "event": Word(
                ("atrial-fibrillation", "ventricular-tachycardia", "shock", "lead-fault", "battery-low"),
                "What the implant saw",
                optional=False,
            ),
            # An implant's own counters are 16 or 20 bits wide.
            "count": Number(0, 1_000_000, "{count}", "How often", optional=True, whole=True),
            "burden": Number(0, 100, "%", "Share of time in the arrhythmia", optional=True, converted=True),
        },
    ),
)

KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _KINDS}
