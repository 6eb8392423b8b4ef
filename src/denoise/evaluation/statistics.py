"""Means with intervals, and comparisons of two methods over the same utterances.

Utterances of one speaker are not independent, so resampling draws whole speakers (the cluster
bootstrap; Field & Welsh, JRSS B 69(3), 2007).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

_REPLICATES = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def cluster_bootstrap(values: np.ndarray, clusters: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of `values` and its 95 % percentile interval by resampling clusters.

    Parameters
    ----------
    values : np.ndarray [shape=(n,)]
        NaNs are left out.
    clusters : np.ndarray [shape=(n,)]
        The speaker of each value.  With one speaker, utterances are resampled.
    """
    present = np.isfinite(values)
    values, clusters = values[present], clusters[present]
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    _, owner = np.unique(clusters, return_inverse=True)
    if owner.max() == 0:
        owner = np.arange(len(values))
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    draws = _draws(len(sums), seed)
    # No product of matrices: the BLAS library would sum in an order that depends on the processor.
    means = np.einsum("rc,c", draws, sums) / np.einsum("rc,c", draws, counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


def resampled(speakers: int) -> str:
    """What `cluster_bootstrap` draws from so many speakers, in words."""
    return "speakers" if speakers > 1 else "utterances, all of one speaker"


@functools.lru_cache(maxsize=4)
def _draws(clusters: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each replicate [shape=(replicates, clusters)]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=_REPLICATES)


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two methods."""

    difference: Estimate
    p_wilcoxon: float
    n: int


def compare(first: np.ndarray, second: np.ndarray, clusters: np.ndarray) -> Comparison:
    """``first - second`` over the utterances both have, with a bootstrap interval by cluster.

    The p-value is that of the Wilcoxon signed-rank test (two-sided), over utterances; 1 if no
    pair differs.
    """
    present = np.isfinite(first) & np.isfinite(second)
    difference = first[present] - second[present]
    estimate = cluster_bootstrap(difference, clusters[present])
    p_value = 1.0
    if len(difference) and np.any(difference != 0):
        from scipy.stats import wilcoxon  # slow to import

        p_value = float(wilcoxon(difference).pvalue)
    return Comparison(estimate, p_value, len(difference))


def holm(p_values: list[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected.tolist()
