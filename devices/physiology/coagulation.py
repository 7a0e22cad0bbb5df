"""INR under a vitamin K antagonist, tested once a week."""

from __future__ import annotations

import numpy as np

from devices.physiology.course import Episode, plateau_episodes, total
from devices.physiology.draws import autoregressive
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import Coagulation
from devices.physiology.series import Label, Series


def inr_episodes(
    rng: np.random.Generator, start_ms: int, days: int, chosen: Coagulation
) -> dict[str, list[Episode]]:
    """Too much and too little, on the logarithm of INR."""
    return {
        "over-anticoagulation": plateau_episodes(
            rng, start_ms, days, chosen.over_per_year, chosen.episode_days, chosen.over
        ),
        "under-anticoagulation": plateau_episodes(
            rng, start_ms, days, chosen.under_per_year, chosen.episode_days, chosen.under
        ),
    }


def labels_of(patient: str, episodes: dict[str, list[Episode]]) -> list[Label]:
    return [
        Label(patient, what, one.onset_ms, one.end_ms, None, {"factor": round(float(np.exp(one.size)), 2)})
        for what, of_kind in episodes.items()
        for one in of_kind
    ]


def measure(
    rng: np.random.Generator,
    device: str,
    target: float,
    episodes: dict[str, list[Episode]],
    clock: LocalTime,
    chosen: Coagulation,
) -> Series:
    """A drop of blood every `test_days`, in the morning of the patient's own weekday."""
    first = int(rng.integers(chosen.test_days))
    days = np.arange(first, clock.days, chosen.test_days)
    true_ms = clock.instant_ms(days, rng.normal(510, 40, len(days)))
    slow = autoregressive(rng, clock.days, chosen.sd, chosen.memory_days)[days]
    logarithm = np.log(target) + slow + total([one for kind in episodes.values() for one in kind], true_ms)
    inr = np.exp(logarithm) * (1 + rng.normal(0.0, chosen.meter_sd, len(days)))
    return Series("inr", device, true_ms, {"inr": np.clip(inr, 0.8, 8.0)}, "{INR}", {"inr": 1})
