"""The illnesses of a patient over time: when each begins, how bad it becomes, when it ends.

An `Episode` rises from its onset to its peak and falls until its end; signals ask for its strength at the
instants of their measurements, so nothing is stored on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from devices.physiology.draws import event_times
from devices.physiology.parameters import Decompensation
from devices.physiology.series import DAY_MS, Bools, Floats, Instants


@dataclass(frozen=True)
class Episode:
    """Strength 0 at the onset, `size` at the peak, 0 at the end. A plateau has `rise_power` 0."""

    onset_ms: int
    peak_ms: int
    end_ms: int
    size: float
    rise_power: float = 1.0

    def strength(self, at_ms: Instants) -> Floats:
        """Strength at each instant (same shape)."""
        rising = np.clip((at_ms - self.onset_ms) / max(1, self.peak_ms - self.onset_ms), 0.0, 1.0)
        falling = np.clip((self.end_ms - at_ms) / max(1, self.end_ms - self.peak_ms), 0.0, 1.0)
        inside = (at_ms >= self.onset_ms) & (at_ms < self.end_ms)
        return self.size * rising**self.rise_power * falling * inside


@dataclass(frozen=True)
class DecompensationEpisode:
    """One decompensation: fluid in kg, severity 0 to 1, and what the other signals do in it."""

    onset_ms: int
    peak_ms: int
    """Admission to hospital (major) or the start of treatment at home (minor)."""
    end_ms: int
    major: bool
    gain_kg: float
    heart_rate_rise: float
    systolic_change: float
    fluid: Episode
    severity: Episode


@dataclass
class Course:
    """All that happens to one patient. `away` are spans without measurements at home."""

    decompensations: list[DecompensationEpisode] = field(default_factory=list)
    fibrillation: list[Episode] = field(default_factory=list)
    permanent_fibrillation: bool = False
    exacerbations: list[Episode] = field(default_factory=list)
    infections: list[Episode] = field(default_factory=list)
    away: list[tuple[str, int, int]] = field(default_factory=list)

    def severity(self, at_ms: Instants) -> Floats:
        """Of decompensation, 0 to 1."""
        return total([one.severity for one in self.decompensations], at_ms)

    def in_fibrillation(self, at_ms: Instants) -> Bools:
        if self.permanent_fibrillation:
            return np.ones(len(at_ms), dtype=np.bool_)
        return total(self.fibrillation, at_ms) > 0

    def at_home(self, at_ms: Instants) -> Bools:
        here = np.ones(len(at_ms), dtype=np.bool_)
        for _, begin_ms, end_ms in self.away:
            here &= (at_ms < begin_ms) | (at_ms >= end_ms)
        return here


def total(episodes: list[Episode], at_ms: Instants) -> Floats:
    """Sum of the strengths of episodes at each instant."""
    strength = np.zeros(len(at_ms))
    for episode in episodes:
        strength += episode.strength(at_ms)
    return strength


def plateau_episodes(
    rng: np.random.Generator,
    start_ms: int,
    days: int,
    per_year: float,
    length_days: tuple[float, float],
    size: tuple[float, float],
) -> list[Episode]:
    """Episodes at full strength within half a day, for a length and with a size that are uniform."""
    episodes = []
    for onset in event_times(rng, per_year, days, length_days[1] + 1.0):
        length = rng.uniform(*length_days)
        onset_ms = start_ms + int(onset * DAY_MS)
        peak_ms = onset_ms + int(min(0.5, length / 4) * DAY_MS)
        end_ms = onset_ms + int(length * DAY_MS)
        episodes.append(Episode(onset_ms, peak_ms, end_ms, rng.uniform(*size)))
    return episodes


def decompensations(
    rng: np.random.Generator, start_ms: int, days: int, chosen: Decompensation
) -> list[DecompensationEpisode]:
    """The decompensations of one patient with heart failure."""
    frailty = rng.gamma(chosen.frailty_shape, 1.0 / chosen.frailty_shape)
    episodes: list[DecompensationEpisode] = []
    for onset in event_times(rng, chosen.per_year * frailty, days, chosen.apart_days):
        onset_ms = start_ms + int(onset * DAY_MS)
        peak_ms = onset_ms + int(rng.uniform(*chosen.onset_days) * DAY_MS)
        major = bool(rng.random() < chosen.major_share)
        recovery = rng.uniform(*(chosen.hospital_days if major else chosen.recovery_minor_days))
        end_ms = peak_ms + int(recovery * DAY_MS)
        gain_kg = _gain_kg(rng, major, chosen)
        responds = rng.random() < chosen.heart_rate_share
        scale = 1.0 if major else 0.5
        episodes.append(
            DecompensationEpisode(
                onset_ms,
                peak_ms,
                end_ms,
                major,
                gain_kg,
                scale * chosen.heart_rate_rise * rng.lognormal(0.0, 0.4) if responds else 0.0,
                float(rng.choice([-1.0, 1.0])) * scale * chosen.systolic_change,
                Episode(onset_ms, peak_ms, end_ms, gain_kg, chosen.gain_power),
                Episode(onset_ms, peak_ms, end_ms, scale, 1.3),
            )
        )
    return episodes


def _gain_kg(rng: np.random.Generator, major: bool, chosen: Decompensation) -> float:
    """Fluid gained: none, or log-normal with the mean that makes the mean over all events the published
    one."""
    mean = (chosen.gain_major_kg if major else chosen.gain_minor_kg) / chosen.gaining_share
    gain = rng.lognormal(np.log(mean) - chosen.gain_sigma**2 / 2, chosen.gain_sigma)
    return float(gain) if rng.random() < chosen.gaining_share else 0.0


def paroxysms(
    rng: np.random.Generator, start_ms: int, days: int, per_year: float, hours: tuple[float, float]
) -> list[Episode]:
    """Atrial fibrillation that comes and goes; `hours` are median and sigma of the logarithm of the
    length."""
    episodes: list[Episode] = []
    for onset in event_times(rng, per_year * rng.gamma(2.0, 0.5), days, 0.25):
        onset_ms = start_ms + int(onset * DAY_MS)
        length_ms = int(rng.lognormal(np.log(hours[0]), hours[1]) * DAY_MS / 24)
        if not episodes or onset_ms > episodes[-1].end_ms:
            episodes.append(Episode(onset_ms, onset_ms, onset_ms + max(length_ms, 60_000), 1.0, 0.0))
    return episodes
