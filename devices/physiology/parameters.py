"""Every number of the simulation, with its source.

Sources in brackets: [lit] a published figure, named; [eng] an engineer's choice inside what is
physiologically usual, where no figure was at hand. The numbers describe patients and devices; none was
fitted to a rule or to a detector's score."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Decompensation:
    """Heart failure getting worse until a hospital (major) or a doctor (minor) ends it."""

    per_year: float = 0.7
    """[eng] Between published figures: Ledwidge 2013 saw 28 events in 87 patients, Moazeni 2023 64 episodes
    in 74; in Sabatier 2022 41 % of 659 were readmitted for a cardiovascular cause within a year under
    follow-up."""
    frailty_shape: float = 2.0
    """[eng] Gamma frailty: few patients have most of the events."""
    major_share: float = 0.6
    """[eng] The rest is treated at home."""
    gaining_share: float = 0.7
    """[lit] Not every decompensation gains weight (Moazeni 2023: many episodes missed by weight; Gyllensten
    2016: sensitivity of trend 33 %); the share itself is [eng]."""
    gain_major_kg: float = 2.3
    gain_minor_kg: float = 1.0
    """[lit] Gudmundsson 2016: weight rose 2.3 kg over the 30 days before major events and 1 kg before minor
    ones: means over all events, those without gain included."""
    gain_sigma: float = 0.5
    """[eng] Of the logarithm of the gain among those that gain."""
    onset_days: tuple[float, float] = (5.0, 14.0)
    """Length of the gain. [lit] Ledwidge 2013: weight rose up to 4 days before events; 30 days is the window
    of Gudmundsson 2016; 5 to 14 days lie between."""
    gain_power: float = 1.5
    """[eng] The gain speeds up: share of the gain = (share of the time) ** 1.5."""
    recovery_minor_days: tuple[float, float] = (3.0, 7.0)
    hospital_days: tuple[float, float] = (5.0, 12.0)
    """[eng] Stay in hospital."""
    apart_days: float = 45.0
    heart_rate_rise: float = 12.0
    """[lit] Moazeni 2023: heart rate is the strongest single parameter; size [eng], beats per minute at
    admission."""
    heart_rate_share: float = 0.75
    systolic_change: float = 8.0
    """[eng] mmHg, up in congestion or down in low output, a coin for each episode."""
    spo2_drop: float = 2.5
    """[eng] Percentage points at admission; Berthelot 2024 alerts below 90 %."""
    respiratory_rise: float = 5.0
    """[eng] Breaths per minute at admission."""


@dataclass(frozen=True)
class Weight:
    """Body weight at home."""

    rhythm_kg: float = 0.9
    """[eng] Evening above morning; published diurnal swings are 0.5 to 1.5 kg."""
    day_sd_kg: float = 0.35
    """[eng] Day to day, bowels, meals and water; published within-person figures are 0.3 to 0.5 kg."""
    day_memory_days: float = 0.8
    scale_sd_kg: float = 0.10
    """[eng] Repeatability of a household scale."""
    scale_step_kg: float = 0.1
    weekly_kg: float = 0.15
    """[eng] Heavier after the weekend (weekly rhythms of this size are published)."""
    drift_sd_kg: float = 0.7
    drift_memory_days: float = 60.0
    """[eng] Nutrition: dry weight wanders with this spread and memory."""
    trend_kg_per_30d: float = 0.25
    trend_cap_kg_per_week: float = 0.5
    """[lit] The cap of slow change is the clinical reference's own (baseline drift 0.5 kg a week)."""
    salt_per_year: float = 6.0
    salt_gain_kg: tuple[float, float] = (0.5, 1.6)
    salt_decay_days: float = 1.5
    """[eng] A feast: fluid that goes by itself."""


@dataclass(frozen=True)
class BloodPressure:
    """Home blood pressure, mmHg."""

    systolic: tuple[float, float] = (128.0, 11.0)
    systolic_hypertension: tuple[float, float] = (136.0, 11.0)
    diastolic: tuple[float, float] = (77.0, 7.0)
    """[eng] Mean and spread between treated patients."""
    systolic_low_failure: float = -8.0
    """[eng] Treated heart failure lowers it."""
    morning_rise: float = 4.0
    """[eng] Morning above evening on average; a surge is 15 to 20 and rare."""
    day_sd: float = 6.0
    session_sd: float = 4.0
    reading_sd: float = 4.0
    """[eng] Together 8 to 9, the usual standard deviation of home systolic pressure."""
    diastolic_share: float = 0.55
    """[eng] Part of a systolic deviation that the diastolic follows."""
    first_day: tuple[float, float] = (2.8, 1.4)
    """[lit] Oxford: day 1 reads 2.8/1.4 mmHg high, plateau after day 3."""
    white_coat_share: float = 0.02
    white_coat: float = 14.0
    """[eng] Sessions that an alarmed patient begins too high; exponential with this mean, half in the
    repeat."""
    crisis_per_year: float = 0.15
    crisis: tuple[float, float] = (40.0, 60.0)
    crisis_days: tuple[float, float] = (0.5, 2.0)
    uncontrolled_per_year: float = 0.5
    uncontrolled: tuple[float, float] = (12.0, 25.0)
    uncontrolled_days: tuple[float, float] = (14.0, 45.0)
    low_per_year: float = 0.15
    low: tuple[float, float] = (-40.0, -28.0)
    low_days: tuple[float, float] = (2.0, 6.0)
    """[eng] Missed or mistaken tablets; rates are low in followed patients."""
    pair_minutes: float = 1.5
    """[lit] Readings 1 to 2 minutes apart."""


@dataclass(frozen=True)
class Heart:
    """Heart rate and rhythm."""

    resting: tuple[float, float] = (68.0, 8.0)
    day_sd: float = 3.0
    reading_sd: float = 2.0
    active_rise: float = 25.0
    """[eng] per minute."""
    fibrillation_rate: tuple[float, float] = (98.0, 12.0)
    """[eng] Ventricular rate in an untreated or partly treated episode."""
    permanent_rate: tuple[float, float] = (78.0, 7.0)
    """[eng] Rate-controlled permanent atrial fibrillation."""
    fibrillation_cv: float = 0.21
    """[eng] Spread of RR intervals over their mean; 0.2 to 0.25 is usual."""
    paroxysms_per_year: float = 14.0
    paroxysm_hours: tuple[float, float] = (5.0, 1.1)
    """[eng] Median, and sigma of the logarithm: minutes to days."""
    respiration_ms: float = 22.0
    baroreflex_ms: float = 26.0
    jitter_ms: float = 9.0
    """[eng] Together an SDNN of some 30 ms in 2 minutes, usual in elderly patients at rest."""
    ectopic_share: float = 0.006
    """[lit] The healthy recording nsr001 has 51 ectopic beats in 6 hours, 0.2 %; patients have more [eng]."""
    pauses_per_year: float = 0.5
    pause_ms: tuple[float, float] = (3200.0, 4600.0)
    strip_seconds: float = 120.0
    strips_at: tuple[float, ...] = (8.0, 12.5, 17.5, 22.0)
    """[eng] A patch that records two minutes four times a day, local hours."""


@dataclass(frozen=True)
class Glucose:
    """Interstitial glucose, mg/dL and minutes."""

    fasting: tuple[float, float] = (118.0, 14.0)
    fasting_insulin: tuple[float, float] = (136.0, 18.0)
    day_sd: float = 14.0
    hour_sd: float = 14.0
    hour_memory_min: float = 120.0
    dawn: float = 18.0
    """[eng] Rise between 4 and 8 o'clock."""
    meals_at: tuple[float, ...] = (7.5, 12.5, 19.75)
    meal_spread_min: float = 30.0
    meal_rise: float = 68.0
    meal_rise_insulin: float = 105.0
    meal_sigma: float = 0.4
    meal_peak_min: float = 55.0
    """[eng] Peaks 50 to 75 minutes after a meal are usual."""
    insulin_ratio: tuple[float, float] = (0.40, 0.16)
    insulin_peak_min: float = 130.0
    """[eng] Rapid insulin acts after the meal has come: where the dose is too large, a low follows."""
    lag_min: float = 8.0
    """[lit] Interstitial fluid lags blood by 5 to 15 minutes."""
    sensor_sd: float = 0.05
    sensor_memory_min: float = 25.0
    """[eng] The part of a sensor's error that changes; its constant part does not show in a series."""
    sensor_range: tuple[float, float] = (40.0, 400.0)
    """[eng] What sensors display."""
    meter_sd: float = 0.05
    """[eng] Within the 15 % that the norm of meters allows for 95 % of the results."""
    sensor_days: float = 10.0
    warm_up_min: float = 120.0
    loss_per_day: float = 0.4
    loss_min: tuple[float, float] = (15.0, 120.0)


@dataclass(frozen=True)
class Respiration:
    """Oxygen saturation, respiratory rate, temperature."""

    spo2: tuple[float, float] = (96.0, 0.9)
    spo2_copd: tuple[float, float] = (91.5, 1.1)
    spo2_sd: float = 0.8
    rate: tuple[float, float] = (16.0, 1.5)
    rate_sd: float = 1.2
    temperature: tuple[float, float] = (36.5, 0.2)
    temperature_sd: float = 0.15
    temperature_rhythm: float = 0.25
    """[eng] Usual values; the body is warmest late in the afternoon."""
    exacerbations_per_year: float = 1.5
    """[eng] One to two a year is usual in chronic obstructive pulmonary disease."""
    exacerbation_days: tuple[float, float] = (7.0, 14.0)
    exacerbation_spo2: float = -4.5
    exacerbation_rate: float = 6.0
    infections_per_year: float = 0.5
    infection_days: tuple[float, float] = (3.0, 8.0)
    fever: tuple[float, float] = (1.2, 2.4)
    """[eng] Kelvin above the patient's own at the worst."""


@dataclass(frozen=True)
class Coagulation:
    """INR under a vitamin K antagonist."""

    sd: float = 0.19
    memory_days: float = 18.0
    """[eng] Of the logarithm of INR; a time in range of 60 to 70 % is usual."""
    over_per_year: float = 0.35
    over: tuple[float, float] = (0.45, 1.0)
    under_per_year: float = 0.35
    under: tuple[float, float] = (-0.6, -0.3)
    episode_days: tuple[float, float] = (7.0, 18.0)
    """[eng] Interactions and forgotten tablets, on the logarithm."""
    meter_sd: float = 0.05
    test_days: int = 7


@dataclass(frozen=True)
class Defects:
    """What becomes of data on the way from a body to a platform."""

    adherence: tuple[float, float] = (8.0, 1.2)
    """[lit] Shape of a Beta distribution, mean 0.87: Berthelot 2024 required 75 %; outcomes went with
    terciles of data return (Sabatier 2022)."""
    missed_run_days: float = 1.8
    holidays_per_year: float = 0.8
    holiday_days: tuple[float, float] = (5.0, 12.0)
    offline_per_year: float = 5.0
    offline_days: tuple[float, float] = (0.3, 6.0)
    latency_s: tuple[float, float] = (3.0, 40.0)
    duplicate_share: float = 0.004
    clock_resets_per_year: float = 0.12
    clock_wrong_days: tuple[float, float] = (0.5, 3.0)
    clock_flag_share: float = 0.6
    """Devices that know and say that their clock was not set."""
    clock_skew_s: float = 20.0
    battery_days: tuple[float, float] = (200.0, 500.0)
    battery_warns_days: float = 6.0
    battery_dead_days: tuple[float, float] = (0.5, 4.0)
    clothed_share: float = 0.008
    clothed_kg: tuple[float, float] = (0.7, 2.2)
    other_person_share: float = 0.003
    other_person_kg: tuple[float, float] = (9.0, 26.0)
    cuff_movement_share: float = 0.012
    cuff_swapped_share: float = 0.002
    cold_finger_share: float = 0.012
    compression_per_day: float = 0.12
    """[lit] Radhakrishnan 2013: 54 % of false alerts came from patient technique; Berthelot 2024: 5 of 11
    false alerts were bad measurements. Single shares are [eng]."""


@dataclass(frozen=True)
class Profile:
    """A kind of cohort. `conditions` are shares of the patients by their first reason to be followed."""

    name: str = "clinic"
    conditions: dict[str, float] = field(
        default_factory=lambda: {
            "heart-failure": 0.44,
            "diabetes": 0.18,
            "hypertension": 0.16,
            "respiratory": 0.08,
            "arrhythmia": 0.08,
            "anticoagulation": 0.06,
        }
    )
    decompensation: Decompensation = Decompensation()
    weight: Weight = Weight()
    blood_pressure: BloodPressure = BloodPressure()
    heart: Heart = Heart()
    glucose: Glucose = Glucose()
    respiration: Respiration = Respiration()
    coagulation: Coagulation = Coagulation()
    defects: Defects = Defects()


CLINIC = Profile()
"""The cohort that scores are computed on."""

DEMO = Profile(
    name="demo",
    decompensation=Decompensation(per_year=9.0),
    blood_pressure=BloodPressure(crisis_per_year=2.5, low_per_year=1.0),
    respiration=Respiration(exacerbations_per_year=8.0),
    coagulation=Coagulation(over_per_year=3.0),
)
"""A fortnight in which something happens: illness comes a dozen times as often as in life, nothing else
differs. Never to be scored."""

PROFILES = {profile.name: profile for profile in (CLINIC, DEMO)}
