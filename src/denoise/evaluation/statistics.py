"""Means and differences of methods with intervals, tests and components of variance.

A score varies with the seed of its training, with the speaker and with the utterance, and seeds and
speakers are crossed: every model enhances every speaker.  Whoever claims something of settings
generalises over both, so both are random effects (Clark, J. Verbal Learning & Verbal Behavior
12(4), 1973), and their components of variance are those of the analysis of variance (Searle,
Casella & McCulloch, "Variance Components", 1992, ch. 4).

The variance of a mean is the sum of a part that comes from speakers and one that comes from seeds,
each with few degrees of freedom.  The critical value is midway between those of Cochran & Cox
("Experimental Designs", 2nd ed. 1957, sec. 4.14) and of Satterthwaite (Biometrics Bulletin 2(6),
1946): one errs to the safe side, the other to the other.  Intervals and tests are of this one kind,
so that they always agree.  Resampling seeds and speakers (the crossed bootstrap; Owen, Ann. Appl.
Stat. 1(2), 2007) gives intervals that are far too narrow with 2 to 5 seeds:
``benchmarks/false_alarms.py`` measures both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

_REPLICATES = 4000
_LEVEL = 0.05
_POWER = 0.8
_MOST = 10_000
"""Of seeds or speakers that are worth a thought."""
_ENOUGH_SEEDS = 3
"""With fewer nothing is claimed of settings."""


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference over utterances, and what it varies with."""

    mean: float
    low: float
    high: float
    """The ends of the 95 % interval; NaN with a single utterance."""
    p: float = 1.0
    """Two-sided, of the mean being zero."""
    n: int = 0
    """Utterances."""
    speakers: int = 0
    seeds: int = 1
    """Trainings of each method; 1 where all are trained once, or not at all."""
    same_sign: bool = True
    """Whether the mean has the same sign with every single seed."""
    sd_seed: float = math.nan
    """Standard deviation from training to training; NaN where there was but one."""
    sd_speaker: float = math.nan
    """From speaker to speaker; NaN where there is but one."""
    sd_utterance: float = math.nan
    """From utterance to utterance of one speaker; NaN with one utterance of each."""
    sd_seed_speaker: float = math.nan
    """Of what a training does to one speaker beyond what it does to all."""


@dataclass(frozen=True)
class _Speakers:
    """To whom utterances belong; of a single speaker each utterance stands for itself."""

    owner: np.ndarray
    """Utterance → number of its speaker [shape=(utterances,)]."""
    counts: np.ndarray
    """Utterances of each [shape=(speakers,)]."""
    single: bool

    @classmethod
    def of(cls, names: np.ndarray) -> _Speakers:
        _, owner = np.unique(names, return_inverse=True)
        single = bool(owner.max() == 0)
        owner = np.arange(len(names)) if single else owner
        return cls(owner, np.bincount(owner), single)

    @property
    def shares(self) -> np.ndarray:
        return np.asarray(self.counts / self.counts.sum())

    def means(self, values: np.ndarray) -> np.ndarray:
        """Of each speaker [shape=(speakers,)]."""
        return np.asarray(np.bincount(self.owner, values) / self.counts)

    def variance_of_mean(self, values: np.ndarray) -> float:
        """Of a mean over utterances, from independent values of speakers [shape=(…, speakers)].

        As if all speakers varied alike, however many utterances each has; the leading axes are
        summed over.
        """
        free = values - values.mean(axis=-1, keepdims=True)
        return float(np.sum(free**2)) / (len(self.counts) - 1) * float(np.sum(self.shares**2))


def estimate(
    methods: Sequence[np.ndarray], weights: Sequence[float], speakers: np.ndarray
) -> Estimate:
    """The weighted sum of the means of some methods: ``[1]`` for a mean, ``[1, -1]`` for a
    difference.

    Parameters
    ----------
    methods : sequence of np.ndarray [shape=(trainings, utterances)]
        Scores of each method: a row for each training, one row for what is not trained.  An
        utterance whose score is missing (NaN) anywhere is left out.
    weights
        Of each method.
    speakers : np.ndarray [shape=(utterances,)]
        The speaker of each utterance.  If all are of one, utterances take the place of speakers,
        and what is found is about this speaker alone.

    Examples
    --------
    Two trainings that differ by 0.2 leave much open:

    >>> network = np.array([[1.0, 1.1, 0.9, 1.0], [1.2, 1.3, 1.1, 1.2]])
    >>> found = estimate([network, np.zeros((1, 4))], [1, -1], np.array(["p", "p", "q", "q"]))
    >>> f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
    '1.10 (0.04 to 2.16)'
    """
    present = np.all([np.isfinite(one).all(axis=0) for one in methods], axis=0)
    methods = [one[:, present] for one in methods]
    if not present.any():
        return Estimate(math.nan, math.nan, math.nan)
    whose = _Speakers.of(speakers[present])
    pairs = list(zip(methods, weights, strict=True))
    values = np.sum([weight * one.mean(axis=0) for one, weight in pairs], axis=0)
    mean, n = float(values.mean()), len(values)
    about: dict[str, Any] = {
        "n": n,
        "speakers": len(np.unique(speakers[present])),
        "seeds": min((len(one) for one in methods if len(one) > 1), default=1),
        "same_sign": _same_sign([weight * one.mean(axis=1) for one, weight in pairs]),
    }
    if len(whose.counts) < 2:
        return Estimate(mean, math.nan, math.nan, **about)
    trained = [_Trainings.of(weight * one, whose) for one, weight in pairs if len(one) > 1]
    spoken = whose.variance_of_mean(whose.means(values))
    seeded = sum(one.of_mean for one in trained)
    both = sum(one.interaction for one in trained)
    # The interaction is in both: the smaller one is counted without it.
    parts = (
        (max(0.0, spoken - both), seeded) if spoken < seeded else (spoken, max(0.0, seeded - both))
    )
    freedom = (len(whose.counts) - 1.0, float(sum(one.seeds - 1 for one in trained)))
    half = _critical(_LEVEL, parts, freedom) * math.sqrt(sum(parts))
    squares = float(np.sum(whose.shares**2))
    within = n - len(whose.counts)
    uttered = math.nan
    if within:
        rest = values - whose.means(values)[whose.owner]
        uttered = float(np.sum(rest**2)) / within - sum(one.residue for one in trained)
    of_utterances = float(np.sum(whose.shares**2 / whose.counts)) / squares * max(0.0, uttered)
    of_speakers = (spoken - both) / squares - (of_utterances if within else 0.0)
    return Estimate(
        mean,
        mean - half,
        mean + half,
        p=_p_value(mean, parts, freedom),
        sd_seed=_root(sum(one.of_seed for one in trained)) if trained else math.nan,
        sd_speaker=math.nan if whose.single else _root(of_speakers),
        sd_utterance=_root(of_speakers if whose.single else uttered),
        sd_seed_speaker=(
            _root(sum(one.interaction * one.seeds for one in trained) / squares)
            if trained
            else math.nan
        ),
        **about,
    )


@dataclass(frozen=True)
class _Trainings:
    """What varies with the training of one method, as variances."""

    seeds: int
    of_mean: float
    """Of the mean over seeds and utterances."""
    interaction: float
    """The part of it that is of single speakers (and utterances, where they are few)."""
    of_seed: float
    """From training to training."""
    residue: float
    """Of the mean over seeds of one utterance, beyond its speaker's."""

    @classmethod
    def of(cls, values: np.ndarray, whose: _Speakers) -> _Trainings:
        """From values [shape=(trainings, utterances)]."""
        seeds = len(values)
        means = values.mean(axis=1)
        own = np.stack([whose.means(row) for row in values])
        own -= own.mean(axis=0)
        rest = values - values.mean(axis=0) - own[:, whose.owner]
        variance = float(np.sum((means - means.mean()) ** 2)) / (seeds - 1)
        interaction = whose.variance_of_mean(own) / (seeds - 1)
        within = max(1, len(whose.owner) - len(whose.counts))
        return cls(
            seeds,
            variance / seeds,
            interaction / seeds,
            variance - interaction,
            float(np.sum(rest**2)) / (seeds - 1) / within / seeds,
        )


def _same_sign(means: list[np.ndarray]) -> bool:
    """Whether a sum has one sign with every seed, from the means of its terms by seed.

    Seeds are taken as they stand beside each other; methods of unlike numbers of them at their
    extremes.
    """
    several = {len(one) for one in means if len(one) > 1}
    if len(several) <= 1:
        sums = np.sum(np.broadcast_arrays(*means), axis=0)
    else:
        sums = np.array([sum(one.min() for one in means), sum(one.max() for one in means)])
    return bool(np.all(sums > 0) or np.all(sums < 0))


def _critical(level: float, parts: Sequence[float], freedom: Sequence[float]) -> float:
    """How many standard errors from zero a mean is in `level` of all cases.

    Midway between Student's quantiles weighted by the parts of the variance that they belong to
    (Cochran & Cox), which few false alarms reach, and the quantile of as many degrees of freedom as
    both parts together have (Satterthwaite), which too many do.
    """
    total = sum(parts)
    if total == 0:
        return 0.0
    known = [(part, free) for part, free in zip(parts, freedom, strict=True) if part]
    weighted = sum(-part * stdtrit(free, level / 2) for part, free in known) / total
    joint = total**2 / sum(part**2 / free for part, free in known)
    return float(weighted - stdtrit(joint, level / 2)) / 2


def _p_value(mean: float, parts: Sequence[float], freedom: Sequence[float]) -> float:
    """The level at which a mean is as far from zero as it is; 1e-80 for any lower."""
    if mean == 0 or sum(parts) == 0:
        return float(mean == 0)
    ratio = abs(mean) / math.sqrt(sum(parts))
    low, high = math.log(1e-80), 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if _critical(math.exp(middle), parts, freedom) > ratio:
            low = middle
        else:
            high = middle
    return math.exp(high)


def _root(variance: float) -> float:
    return math.nan if math.isnan(variance) else math.sqrt(max(0.0, variance))


Claim = Literal["settings", "models", "not shown"]


def claim(found: Estimate, p_corrected: float) -> Claim:
    """What a difference allows to be said.

    Of ``settings`` if it is significant and has the same sign with each of three seeds or more; of
    these ``models`` if there is but one training of each: what another one would give is unknown.
    """
    if not p_corrected < _LEVEL:
        return "not shown"
    if found.seeds == 1:
        return "models"
    return "settings" if found.seeds >= _ENOUGH_SEEDS and found.same_sign else "not shown"


@dataclass(frozen=True)
class Needed:
    """How much would show a difference as large as one that was found, in four of five studies."""

    seeds: float
    """With these utterances; NaN if no number of seeds would do, or nothing is known of them."""
    utterances: float
    """With these seeds, of more speakers who each say as many (of a single speaker, if there is
    one); NaN if no number would do."""


def needed(found: Estimate) -> Needed:
    """The seeds, or the utterances, that a difference of this size needs.

    For p < 0.05 with a power of 0.8, by the components of variance that were found: the difference
    must be the sum of both quantiles of its standard error (Snedecor & Cochran, "Statistical
    Methods", 8th ed. 1989, sec. 6.14).
    """
    if not (math.isfinite(found.low) and found.mean):
        return Needed(math.nan, math.nan)
    single = found.speakers == 1
    speakers = found.n if single else found.speakers
    each = found.n / speakers
    unit = found.sd_utterance**2 if single else found.sd_speaker**2
    if not single and math.isfinite(found.sd_utterance):
        unit += found.sd_utterance**2 / each
    known = found.seeds > 1
    seed = found.sd_seed**2 if known else 0.0
    both = found.sd_seed_speaker**2 if known else 0.0

    def enough(seeds: int, units: int) -> bool:
        parts = (unit / units, seed / seeds + both / seeds / units)
        freedom = (units - 1.0, 2.0 * (seeds - 1) if known else 0.0)
        reach = _critical(_LEVEL, parts, freedom) + _critical(2 * (1 - _POWER), parts, freedom)
        return abs(found.mean) >= reach * math.sqrt(sum(parts))

    units = _smallest(lambda units: enough(found.seeds, units))
    return Needed(
        _smallest(lambda seeds: enough(seeds, speakers)) if known else math.nan,
        float(np.ceil(units * each)),
    )


def _smallest(enough: Callable[[int], bool]) -> float:
    """The smallest number from 2 on that is enough; NaN if none is that is worth a thought."""
    if not enough(_MOST):
        return math.nan
    low, high = 1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def cluster_bootstrap(values: np.ndarray, clusters: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of `values` and its 95 % percentile interval by resampling clusters.

    For ratings, whose clusters are listeners (Field & Welsh, JRSS B 69(3), 2007).

    Parameters
    ----------
    values : np.ndarray [shape=(n,)]
        NaNs are left out.
    clusters : np.ndarray [shape=(n,)]
        Whose each value is.  If all are of one, values are resampled.
    """
    present = np.isfinite(values)
    values, clusters = values[present], clusters[present]
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    whose = _Speakers.of(clusters)
    sums, counts = np.bincount(whose.owner, values), whose.counts
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_REPLICATES)
    # No product of matrices: the BLAS library would sum in an order that depends on the processor.
    means = np.einsum("rc,c", draws, sums) / np.einsum("rc,c", draws, counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), n=len(values))


def holm(p_values: list[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected.tolist()
