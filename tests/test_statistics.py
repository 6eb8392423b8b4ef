"""Intervals, tests, claims and components of variance over seeds, speakers and utterances."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from denoise.cli.compare import _rows
from denoise.evaluation.leaderboard import pairwise
from denoise.evaluation.scores import MethodScores, by_utterance
from denoise.evaluation.statistics import Estimate, claim, estimate, needed
from denoise.metrics.registry import SCORED


def drawn(
    rng: np.random.Generator, seeds: int, speakers: int, utterances: int, *, seed=0.0, speaker=0.0,
    utterance=0.0, residue=0.0, shift=0.0,
) -> np.ndarray:  # fmt: skip
    """Scores of a method [shape=(seeds, utterances of all speakers)], normal at every level."""
    whose = np.repeat(np.arange(speakers), utterances)
    return (
        shift
        + seed * rng.normal(size=(seeds, 1))
        + speaker * rng.normal(size=speakers)[whose]
        + utterance * rng.normal(size=len(whose))
        + residue * rng.normal(size=(seeds, len(whose)))
    )


def names(speakers: int, utterances: int) -> np.ndarray:
    return np.repeat([f"s{k}" for k in range(speakers)], utterances)


def test_one_training_gives_a_t_test_over_speaker_means():
    values = drawn(np.random.default_rng(0), 1, 7, 5, speaker=1, utterance=1, shift=0.4)
    found = estimate([values], [1], names(7, 5))
    means = values.reshape(7, 5).mean(axis=1)
    expected = stats.ttest_1samp(means, 0)
    interval = expected.confidence_interval()
    assert (found.mean, found.low, found.high) == pytest.approx((means.mean(), *interval))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.n, found.speakers, found.seeds) == (35, 7, 1) and math.isnan(found.sd_seed)


def test_identical_utterances_give_a_t_test_over_seed_means():
    """Where every utterance tells the same, only the trainings vary."""
    rng = np.random.default_rng(1)
    methods = [np.repeat(rng.normal(mean, 1, (4, 1)), 6, axis=1) for mean in (1, 0)]
    found = estimate(methods, [1, -1], names(3, 2))
    expected = stats.ttest_rel(methods[0][:, 0], methods[1][:, 0])
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    # Of two seeds, whose difference would have one degree of freedom, all are independent.
    two = [one[:2] for one in methods]
    expected = stats.ttest_ind(two[0][:, 0], two[1][:, 0])
    assert estimate(two, [1, -1], names(3, 2)).p == pytest.approx(expected.pvalue)
    # What is not trained has no seeds: a test of one sample.
    fixed = estimate([methods[0], np.full((1, 6), 0.5)], [1, -1], names(3, 2))
    expected = stats.ttest_1samp(methods[0][:, 0], 0.5)
    assert fixed.p == pytest.approx(expected.pvalue) and fixed.seeds == 4


def test_one_speaker_gives_a_t_test_over_utterances():
    values = np.random.default_rng(2).normal(1, 2, (1, 30))
    found = estimate([values], [1], np.full(30, "s"))
    assert found.p == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue)
    assert found.speakers == 1 and math.isnan(found.sd_speaker)
    assert found.sd_utterance == pytest.approx(values.std(ddof=1))


def test_false_positive_rate_holds_for_unequal_utterances_per_speaker():
    """Not as many false alarms as nominal, but neither more nor next to none."""
    rng = np.random.default_rng(3)
    whose = np.repeat(["a", "b", "c", "d", "e"], [2, 4, 6, 8, 20])
    _, owner = np.unique(whose, return_inverse=True)
    p = [estimate([rng.normal(size=5)[owner][None]], [1], whose).p for _ in range(2000)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.06


def test_estimated_variance_components_match_the_simulated_ones():
    rng = np.random.default_rng(4)
    given = {"seed": 0.5, "speaker": 1.5, "utterance": 0.8, "residue": 0.3}
    found = [estimate([drawn(rng, 6, 12, 10, **given)], [1], names(12, 10)) for _ in range(300)]
    for name in ("seed", "speaker", "utterance"):
        squares = np.array([getattr(one, f"sd_{name}") for one in found]) ** 2
        assert np.sqrt(squares.mean()) == pytest.approx(given[name], rel=0.05)
    # Of a single speaker and seed the residue is all there is to the interaction.
    # Of unlike numbers of utterances too.
    whose = np.repeat(["a", "b", "c", "d", "e", "f"], [2, 4, 6, 8, 20, 40])
    _, owner = np.unique(whose, return_inverse=True)
    unlike = [
        estimate([1.5 * rng.normal(size=6)[owner][None] + 3 * rng.normal(size=(1, 80))], [1], whose)
        for _ in range(2000)
    ]
    squares = [one.sd_speaker**2 for one in unlike]
    assert 1.5**2 < np.mean(squares) < 2.1**2  # somewhat more, as none is negative
    both = np.mean([one.sd_seed_speaker**2 for one in found])
    assert both == pytest.approx(0.3**2 / 10, rel=0.1)


@pytest.mark.parametrize("speakers", [2, 4, 8, 20])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_false_positive_rate_is_nominal_for_equal_settings(seeds, speakers):
    """3 dB between speakers, 0.3 dB between trainings, 0.2 dB of residue, in 2,000 draws.

    With one training nothing is known of how trainings vary, and the claim is about the models:
    there they do not differ.
    """
    rng = np.random.default_rng([5, seeds, speakers])
    whose, count = names(speakers, 6), 0
    for _ in range(2000):
        level = drawn(rng, 1, speakers, 6, speaker=3)
        own = {"seed": 0.3 if seeds > 1 else 0, "residue": 0.2}
        methods = [level + drawn(rng, seeds, speakers, 6, **own) for _ in range(2)]
        found = estimate(methods, [1, -1], whose)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
        count += found.p < 0.05
    # 3 to 7 %, with two standard errors of 2,000 draws at the lower end.
    assert 0.03 - 0.008 < count / 2000 < 0.07


@pytest.mark.parametrize(("seeds", "speakers"), [(2, 20), (3, 8), (5, 4), (3, 20)])
def test_false_positive_rate_is_nominal_with_speaker_specific_effects(seeds, speakers):
    """As above, where each speaker gains or loses 0.3 dB with one of the two."""
    rng = np.random.default_rng([6, seeds, speakers])
    whose, count = names(speakers, 6), 0
    for _ in range(2000):
        methods = [drawn(rng, seeds, speakers, 6, seed=0.3, speaker=0.21, residue=0.2)
                   for _ in range(2)]  # fmt: skip
        count += estimate(methods, [1, -1], whose).p < 0.05
    assert 0.03 < count / 2000 < 0.07


def test_the_needed_number_of_seeds_gives_80_percent_power():
    """With as many seeds as `needed` names for what is known exactly."""
    known = Estimate(0.5, 0, 1, n=48, speakers=8, seeds=3, trained=1, sd_seed=0.3 * math.sqrt(2),
                     sd_speaker=0.0, sd_utterance=0.0, sd_seed_speaker=0.1)  # fmt: skip
    seeds = int(needed(known).seeds)
    rng = np.random.default_rng(7)

    def power(seeds: int) -> float:
        found = [
            estimate(
                [drawn(rng, seeds, 8, 6, seed=0.3, residue=0.17, shift=shift)
                 for shift in (0.5, 0)], [1, -1], names(8, 6),
            ).p < 0.05
            for _ in range(800)
        ]  # fmt: skip
        return float(np.mean(found))

    assert 0.77 < power(seeds) < 0.93 and power(seeds - 1) < 0.82
    # By the formula for two samples of Snedecor & Cochran, with the normal quantiles: 5.65.
    assert 6 <= seeds <= 8


def test_needed_utterances_are_finite_only_if_seed_variance_is_small():
    about = {"n": 40, "speakers": 4, "seeds": 3, "trained": 1, "sd_speaker": 0.4,
             "sd_utterance": 1.0, "sd_seed_speaker": 0.0}  # fmt: skip
    steady = needed(Estimate(0.3, 0, 1, sd_seed=0.0, **about))
    assert 100 < steady.utterances < 400 and steady.utterances == 10 * steady.speakers
    corrected = needed(Estimate(0.3, 0, 1, sd_seed=0.0, **about), 28)
    assert steady.utterances < corrected.utterances < 4 * steady.utterances
    # What is there already is not needed.
    assert math.isnan(needed(Estimate(3, 2, 4, sd_seed=0.1, **about)).utterances)
    unsteady = needed(Estimate(0.3, 0, 1, sd_seed=0.6, **about))
    assert math.isnan(unsteady.utterances)
    assert math.isnan(needed(Estimate(0.3, 0, 1, n=40, speakers=4, sd_speaker=0.1)).seeds)


@pytest.mark.parametrize(
    ("seeds", "agreeing", "p", "said"),
    [(1, 1, 0.01, "models"), (1, 1, 0.2, "not shown"), (2, 2, 0.01, "not shown"),
     (3, 3, 0.01, "settings"), (3, 2, 0.01, "not shown"), (3, 3, 0.06, "not shown"),
     (4, 3, 0.01, "settings"), (5, 4, 0.01, "settings"), (5, 3, 0.01, "not shown"),
     (5, 5, math.nan, "not shown")],
)  # fmt: skip
def test_a_claim_about_settings_needs_three_seeds_with_the_same_sign(seeds, agreeing, p, said):
    found = Estimate(1, 0, 2, speakers=4, seeds=seeds, agreeing=agreeing)
    assert claim(found, p) == said
    alone = Estimate(1, 0, 2, speakers=1, seeds=seeds, agreeing=agreeing)
    assert claim(alone, p) == (said if said == "not shown" else "one speaker")


def test_agreeing_seeds_are_counted_seed_by_seed():
    flat = np.zeros((1, 4))
    for totals, agreeing in (([1, 2, 3], 3), ([1, -2, 3], 2), ([0, 2, 3], 2), ([-1, -2, 1], 2)):
        values = np.array(totals)[:, None] + np.arange(4) - 1.5
        assert estimate([values, flat], [1, -1], names(2, 2)).agreeing == agreeing
    # Of unlike numbers of seeds, as far as both have them.
    low, high = np.array([[0.0] * 4, [0.3] * 4]), np.array([[0.2] * 4, [0.2] * 4, [0.6] * 4])
    assert estimate([high, low], [1, -1], names(2, 2)).agreeing == 1


@pytest.mark.parametrize("seeds", [(2, 5), (3, 10)])
def test_unequal_seed_counts_give_a_two_sample_t_test(seeds):
    rng = np.random.default_rng(10)
    methods = [np.repeat(rng.normal(size=(count, 1)), 6, axis=1) for count in seeds]
    found = estimate(methods, [1, -1], names(3, 2))
    expected = stats.ttest_ind(methods[0][:, 0], methods[1][:, 0])
    assert found.p == pytest.approx(expected.pvalue)


def test_the_effect_of_one_of_five_values_is_tested_as_a_contrast():
    rng = np.random.default_rng(11)
    methods = [np.repeat(rng.normal(size=(3, 1)), 4, axis=1) for _ in range(5)]
    weights = [0.8, -0.2, -0.2, -0.2, -0.2]
    contrast = sum(w * one[:, 0] for w, one in zip(weights, methods, strict=True))
    expected = stats.ttest_1samp(contrast, 0)
    assert estimate(methods, weights, names(2, 2)).p == pytest.approx(expected.pvalue)
    # Of two seeds, by the textbook formula of a contrast in one-way analysis of variance.
    two = [one[:2] for one in methods]
    pooled = np.mean([one[:, 0].var(ddof=1) for one in two])
    error = np.sqrt(pooled * sum(w**2 for w in weights) / 2)
    ratio = abs(sum(w * one[:, 0].mean() for w, one in zip(weights, two, strict=True))) / error
    assert estimate(two, weights, names(2, 2)).p == pytest.approx(2 * stats.t.sf(ratio, 5))


def test_a_seed_effect_shared_by_all_methods_cancels_in_their_difference():
    """With 0.9 dB that three trainings of two methods share, 0.1 dB between them is seen."""
    rng = np.random.default_rng(14)
    shared = np.array([[0.9], [-0.9], [0.0]]) + rng.normal(size=24)
    methods = [shared + shift + 0.02 * rng.normal(size=(3, 24)) for shift in (0.1, 0)]
    found = estimate(methods, [1, -1], names(4, 6))
    assert found.p < 0.01 and found.agreeing == 3 and found.sd_seed < 0.02
    assert estimate(methods[:1], [1], names(4, 6)).sd_seed == pytest.approx(0.9, rel=0.05)


def test_identical_methods_have_exactly_zero_difference():
    values = np.random.default_rng(12).normal(9, 2, (3, 24))
    for methods in ([values] * 3, [values[:1]] * 3):
        found = estimate(methods, [2 / 3, -1 / 3, -1 / 3], names(4, 6))
        assert found.p == 1 and found.mean == 0


def test_seed_by_speaker_variance_is_counted_once():
    """It is in the means of seeds and in those of speakers: counted twice, next to no difference
    would be found (0.5 % false alarms instead of these)."""
    rng, count = np.random.default_rng(13), 0
    whose = names(20, 6)
    for _ in range(2000):
        methods = [
            0.4 * rng.normal(size=(5, 20))[:, np.repeat(np.arange(20), 6)]
            + drawn(rng, 5, 20, 6, residue=0.2)
            for _ in range(2)
        ]
        count += estimate(methods, [1, -1], whose).p < 0.05
    assert 0.013 < count / 2000 < 0.07


def test_utterances_with_a_missing_score_in_any_seed_are_excluded():
    values = np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]])
    found = estimate([values, np.array([[0.0, 1.0, np.nan]])], [1, -1], np.array(["a", "b", "c"]))
    assert (found.mean, found.n) == (1.0, 1) and math.isnan(found.low) and found.p == 1
    assert estimate([np.full((1, 2), np.nan)], [1], np.array(["a", "b"])).n == 0


def scores(**methods: np.ndarray) -> pd.DataFrame:
    about = {"split": "test", "recording": "r", "sex": "F", "noise_type": "rain", "status": "ok",
             "snr_target": 0.0, "snr_input": 0.0, "test_set": "test"}  # fmt: skip
    rows = [
        {**about, **dict.fromkeys(SCORED, value), "method": method, "seed": seed, "id": f"u{k:02d}",
         "speaker": f"s{k % 4}"}
        for method, values in methods.items()
        for seed, row in enumerate(values)
        for k, value in enumerate(row)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_difference_whose_sign_depends_on_the_seed_is_not_claimed():
    """The case of two seeds whose mean is the same for every utterance."""
    rng = np.random.default_rng(8)
    base = rng.normal(0.8, 0.05, 48)
    noise = 0.002 * rng.normal(size=(2, 2, 48))
    table = scores(
        a=base + np.array([[-0.024], [0.008]]) + noise[0], b=base + noise[1], noisy=base[None] - 0.3
    )
    pairs = pairwise(table, ["stoi"]).set_index(["first", "second"])
    row = pairs.loc[("a", "b")]
    assert row["difference"] == pytest.approx(-0.008, abs=0.001)
    assert row["claim"] == "not shown" and row["p_holm"] > 0.05 and row["agreeing"] == 1
    assert row["sd_seed"] == pytest.approx(0.032 / math.sqrt(2), rel=0.1)
    assert set(pairs["seeds"]) == {2} and set(pairs["speakers"]) == {4}
    # Averaged over the seeds first, as it used to be, it is clear.
    merged = by_utterance(table).pivot_table("stoi", "id", "method")
    assert stats.wilcoxon(merged["a"] - merged["b"]).pvalue < 0.001


def test_scores_are_arranged_by_method_seed_and_utterance():
    table = scores(b=np.arange(6.0).reshape(2, 3), a=np.arange(3.0)[None])
    found = MethodScores.of(table.sample(frac=1, random_state=0), "pesq_nb")
    assert found.ids.tolist() == ["u00", "u01", "u02"]
    assert found.speakers.tolist() == ["s0", "s1", "s2"]
    assert found.by_method["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.only(pd.Index(["u01"])).by_method["a"].tolist() == [[1]]
    table.loc[0, "stoi"] = np.nan
    means = by_utterance(table).set_index(["method", "id"])
    assert math.isnan(means.loc[("b", "u00"), "stoi"]) and means.loc[("b", "u01"), "stoi"] == 2.5


def test_experiments_are_compared_over_the_seeds_they_share():
    rng = np.random.default_rng(9)
    level = rng.normal(5, 2, 48)
    often = scores(v=level + 1 + 0.01 * rng.normal(size=(3, 48)))
    once = scores(v=level + 0.01 * rng.normal(size=(1, 48)))
    rows = {row["metric"]: row for row in _rows([once, often], paired=True).to_dict("records")}
    row = rows["SI-SDR (dB)"]
    assert row["second - first"] == pytest.approx(1, abs=0.01) and row["p_holm"] < 0.01
    assert row["seeds"] == 1 and row["claim"] == "models"
    both = _rows([scores(v=level + 0.01 * rng.normal(size=(3, 48))), often], paired=True)
    assert set(both["claim"]) == {"settings"} and set(both["seeds"]) == {3}
    unpaired = _rows([once, often], paired=False)
    assert list(unpaired) == ["metric", "first", "second"]
