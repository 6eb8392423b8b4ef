"""Means and differences of methods with intervals, tests and components of variance.

A score varies with the seed of its training, with the speaker and with the utterance, and seeds and
speakers are crossed: every model enhances every speaker.  Whoever claims something of settings
generalises over both, so both are random effects (Clark, J. Verbal Learning & Verbal Behavior
12(4), 1973), and their components of variance are those of the analysis of variance (Searle,
Casella & McCulloch, "Variance Components", 1992).

With three or more seeds, trainings with the same seed are paired: where networks and data agree,
they begin with the same weights and see the same batches, and often do well or badly together.
With two seeds, paired differences would have a single degree of freedom.  Then, and if the methods
have different numbers of seeds, trainings count as independent, with one common variance.

The variance of a mean is the sum of a part that comes from speakers and one that comes from seeds,
each with few degrees of freedom.  The critical value is midway between those of Cochran & Cox
("Experimental Designs", 2nd ed. 1957) and of Satterthwaite (Biometrics Bulletin 2(6), 1946): with
few degrees of freedom the former mostly gives too few false alarms and the latter too many; in
simulations their mean gave close to 5 %.  Intervals and tests use the same critical value, so they
agree until p-values are corrected for multiple tests.  Resampling seeds and speakers (the crossed
bootstrap; Owen, Ann. Appl. Stat. 1(2), 2007) gives intervals that are far too narrow with 2 to 5
seeds: ``benchmarks/false_alarms.py`` measures both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

_LEVEL = 0.05
_POWER = 0.8
_MOST_SEEDS, _MOST_SPEAKERS = 100, 10_000
"""Upper limits in `needed`."""
_ROUNDING = 1e-12
"""Relative to the largest score: smaller differences come from the order of summation."""
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
    agreeing: int = 1
    """Seeds with which the mean has the sign that it has over all."""
    trained: int = 0
    """Number of methods with independent training variation: one if trainings with the same seed
    are paired."""
    sd_seed: float = math.nan
    """Standard deviation from training to training; NaN where there was but one."""
    sd_speaker: float = math.nan
    """From speaker to speaker; NaN where there is but one."""
    sd_utterance: float = math.nan
    """From utterance to utterance of one speaker; NaN with one utterance of each."""
    sd_seed_speaker: float = math.nan
    """Standard deviation of the interaction of training and speaker."""


@dataclass(frozen=True)
class _Speakers:
    """The speaker of each utterance; with a single speaker, each utterance counts as one."""

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
        """Mean of each speaker [shape=(speakers,)]."""
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
        Scores of each method, in the unit of the metric: a row for each training, in the order of
        the seeds; one row for what is not trained.  An utterance whose score is missing (NaN)
        anywhere is left out.
    weights
        Of each method.
    speakers : np.ndarray [shape=(utterances,)]
        The speaker of each utterance.  If all are of one, utterances take the place of speakers,
        and what is found is about this speaker alone.

    Returns
    -------
    Estimate
        In the unit of the metric; NaN where no utterance has all scores.

    Examples
    --------
    With two trainings that differ by 0.2 the interval is wide:

    >>> network = np.array([[1.0, 1.1, 0.9, 1.0], [1.2, 1.3, 1.1, 1.2]])
    >>> found = estimate([network, np.zeros((1, 4))], [1, -1], np.array(["p", "p", "q", "q"]))
    >>> f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
    '1.10 (0.04 to 2.16)'
    """
    present = np.all([np.isfinite(one).all(axis=0) for one in methods], axis=0)
    methods = [one[:, present] for one in methods]
    if not present.any():
        return Estimate(math.nan, math.nan, math.nan)
    grouping = _Speakers.of(speakers[present])
    scale = max(float(np.abs(one).max()) for one in methods)
    numbers = {len(one) for one in methods if len(one) > 1}
    if len(numbers) == 1 and max(numbers) >= _ENOUGH_SEEDS:
        # The same seed is the same initial weights and order of batches: what it does to all
        # methods alike is no part of their difference.
        paired = [weight * one for one, weight in zip(methods, weights, strict=True)]
        methods, weights = [np.asarray(sum(np.broadcast_arrays(*paired)))], [1.0]
    pairs = list(zip(methods, weights, strict=True))
    values = np.sum([weight * one.mean(axis=0) for one, weight in pairs], axis=0)
    # What rounding leaves of methods that are alike is no difference.
    values[np.abs(values) < _ROUNDING * scale] = 0
    mean, n = float(values.mean()), len(values)
    several = [(one, weight) for one, weight in pairs if len(one) > 1]
    about: dict[str, Any] = {
        "n": n,
        "speakers": len(np.unique(speakers[present])),
        "seeds": min((len(one) for one, _ in several), default=1),
        "agreeing": _agreeing([weight * one.mean(axis=1) for one, weight in pairs], mean),
        "trained": len(several),
    }
    if len(grouping.counts) < 2:
        return Estimate(mean, math.nan, math.nan, **about)
    trained = _Trainings.of([one for one, _ in several], grouping)
    used = sum(weight**2 / len(one) for one, weight in several)
    speaker_part = grouping.variance_of_mean(grouping.means(values))
    seed_part, both = trained.variance * used, trained.interaction * used
    # The interaction is in both: the smaller one is counted without it.
    if speaker_part < seed_part:
        parts = (max(0.0, speaker_part - both), seed_part)
    else:
        parts = (speaker_part, max(0.0, seed_part - both))
    freedom = (len(grouping.counts) - 1.0, float(trained.freedom))
    half = _critical(_LEVEL, parts, freedom) * math.sqrt(sum(parts))
    squares = float(np.sum(grouping.shares**2))
    within = n - len(grouping.counts)
    utterance_variance = math.nan
    if within:
        rest = values - grouping.means(values)[grouping.owner]
        utterance_variance = float(np.sum(rest**2)) / within - trained.residue * used
    speaker_variance = (speaker_part - both) / squares
    if within:
        speaker_variance -= max(0.0, utterance_variance) * float(np.mean(1 / grouping.counts))
    weighted = sum(weight**2 for _, weight in several)
    known = bool(several)
    return Estimate(
        mean,
        mean - half,
        mean + half,
        p=_p_value(mean, parts, freedom),
        sd_seed=_root((trained.variance - trained.interaction) * weighted) if known else math.nan,
        sd_speaker=math.nan if grouping.single else _root(speaker_variance),
        sd_utterance=_root(speaker_variance if grouping.single else utterance_variance),
        sd_seed_speaker=_root(trained.interaction / squares * weighted) if known else math.nan,
        **about,
    )


class _Trainings(NamedTuple):
    """What varies with the training of a method, as variances, from several methods together, which
    are taken to vary alike."""

    variance: float
    """Variance of the mean over utterances between trainings."""
    interaction: float
    """The part of it due to single speakers (or utterances, if they count as speakers)."""
    residue: float
    """Variance of an utterance within its speaker."""
    freedom: int

    @classmethod
    def of(cls, methods: Sequence[np.ndarray], grouping: _Speakers) -> _Trainings:
        """From the values of every method [shape=(trainings, utterances)]."""
        freedom = sum(len(one) - 1 for one in methods)
        within = max(1, len(grouping.owner) - len(grouping.counts))
        sums = np.zeros(3)
        for values in methods:
            means = values.mean(axis=1)
            own = np.stack([grouping.means(row) for row in values])
            own -= own.mean(axis=0)
            rest = values - values.mean(axis=0) - own[:, grouping.owner]
            sums += (
                np.sum((means - means.mean()) ** 2),
                grouping.variance_of_mean(own),
                np.sum(rest**2) / within,
            )
        variance, interaction, residue = (sums / max(1, freedom)).tolist()
        return cls(variance, interaction, residue, freedom)


def _agreeing(means: list[np.ndarray], whole: float) -> int:
    """With how many seeds a sum has the sign that it has over all, from the means of its terms by
    seed.

    Seeds are taken as they stand beside each other, as far as all methods have them.
    """
    count = min((len(one) for one in means if len(one) > 1), default=1)
    sums = np.sum([one[:count] if len(one) > 1 else np.repeat(one, count) for one in means], axis=0)
    return int(np.sum(np.sign(sums) == np.sign(whole)))


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


Claim = Literal["settings", "models", "one speaker", "not shown"]


def claim(found: Estimate, p_corrected: float) -> Claim:
    """What a difference allows to be said.

    ``settings``: it is significant, at least three seeds agree on its sign, and at most a quarter
    of the seeds do not.  ``models``: it is significant, but each method was trained once, so that
    it is unknown what another training would give.  ``one speaker``: it is significant, but was
    tested on one speaker only.  Otherwise ``not shown``.
    """
    if not p_corrected < _LEVEL:
        return "not shown"
    if found.seeds > 1 and found.agreeing < max(_ENOUGH_SEEDS, 0.75 * found.seeds):
        return "not shown"
    if found.speakers == 1:
        return "one speaker"
    return "models" if found.seeds == 1 else "settings"


class Needed(NamedTuple):
    """The data needed to show a difference of the size found, with a power of 0.8.

    NaN if no number suffices, nothing is known, or there are as many already.
    """

    seeds: float
    """With these utterances."""
    speakers: float
    """With these seeds, each saying as many utterances."""
    utterances: float
    """With these seeds: number of utterances, with as many utterances per speaker as now, or of the
    single speaker."""


def needed(found: Estimate, tests: int = 1) -> Needed:
    """The seeds, or the utterances, that a difference of this size needs.

    From the estimated variance components, which are rough with few seeds and speakers.  The
    difference must be at least its standard error times the sum of the quantiles for level and
    power (Snedecor & Cochran, "Statistical Methods", 8th ed. 1989, ch. 6).

    Parameters
    ----------
    tests
        How many p-values are corrected together: each alone must be below 0.05 over this.
    """
    nothing = Needed(math.nan, math.nan, math.nan)
    if not (math.isfinite(found.low) and found.mean):
        return nothing
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
        freedom = (units - 1.0, float(found.trained * (seeds - 1)))
        reach = sum(_critical(level, parts, freedom) for level in (_LEVEL / tests, 2 - 2 * _POWER))
        return abs(found.mean) >= reach * math.sqrt(sum(parts))

    seeds, units = math.nan, math.nan
    if known:
        seeds = _smallest(lambda count: enough(count, speakers), _ENOUGH_SEEDS, _MOST_SEEDS)
    if not known or found.seeds >= _ENOUGH_SEEDS:
        units = _smallest(lambda count: enough(found.seeds, count), 2, _MOST_SPEAKERS)
    if seeds <= found.seeds:
        seeds = math.nan
    if units <= speakers:
        units = math.nan
    return Needed(seeds, math.nan if single else units, float(np.ceil(units * each)))


def _smallest(enough: Callable[[int], bool], least: int, most: int) -> float:
    """The smallest number from `least` on that is enough; NaN if `most` is not."""
    if not enough(most):
        return math.nan
    low, high = least - 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def holm(p_values: list[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected.tolist()
