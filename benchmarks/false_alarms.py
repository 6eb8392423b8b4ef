"""False alarms and coverage of tests and intervals for two settings, by simulation.

    python benchmarks/false_alarms.py
    python benchmarks/false_alarms.py --by-speaker 0.3 --draws 2000
    python benchmarks/false_alarms.py --between-trainings 0.3 0.1

Two settings that do not differ are trained with some seeds each and tested on some speakers of six
utterances.  The standard deviations of scores are 3 dB between speakers, 0.3 dB between trainings
and 0.2 dB from utterance to utterance. `--by-speaker` is the standard deviation over speakers of
the difference between the settings, `--interaction` that of the interaction of training and
speaker.  With one seed the trainings do not vary: the claim is about the models.  For each of three
methods it prints how often the test calls the two different at 5 % and how often the 95 % interval
contains the true difference, zero:

    pooled     seeds averaged first; bootstrap over speakers, Wilcoxon's test over utterances
    crossed    bootstrap that draws seeds and speakers, and utterances within them (Owen 2007);
               two-sided p from the share of draws beyond zero
    components what `denoise.evaluation.statistics.estimate` does
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy.stats import wilcoxon

from denoise.evaluation.statistics import estimate

_EACH = 6
_REPLICATES = 500
"""Of a bootstrap: each draw is a study of its own."""


def pooled(methods: list[np.ndarray], speakers: np.ndarray, rng: np.random.Generator) -> list[bool]:
    difference = methods[0].mean(axis=0) - methods[1].mean(axis=0)
    of_speakers = difference.reshape(-1, _EACH).mean(axis=1)
    draws = rng.integers(len(of_speakers), size=(_REPLICATES, len(of_speakers)))
    low, high = np.percentile(of_speakers[draws].mean(axis=1), [2.5, 97.5])
    return [bool(wilcoxon(difference).pvalue < 0.05), bool(low <= 0 <= high)]


def crossed(
    methods: list[np.ndarray], speakers: np.ndarray, rng: np.random.Generator
) -> list[bool]:
    count = len(np.unique(speakers))
    shape = (_REPLICATES, count, _EACH)
    drawn = rng.integers(count, size=(_REPLICATES, count, 1)) * _EACH
    chosen = (drawn + rng.integers(_EACH, size=shape)).reshape(_REPLICATES, -1)
    means = []
    for values in methods:
        seeds = rng.integers(len(values), size=(_REPLICATES, len(values)))
        of_seeds = np.array([row[chosen].mean(axis=1) for row in values])
        means.append(np.take_along_axis(of_seeds.T, seeds, axis=1).mean(axis=1))
    difference = means[0] - means[1]
    low, high = np.percentile(difference, [2.5, 97.5])
    p = 2 * min(np.mean(difference <= 0), np.mean(difference >= 0))
    return [bool(p < 0.05), bool(low <= 0 <= high)]


def components(
    methods: list[np.ndarray], speakers: np.ndarray, _: np.random.Generator
) -> list[bool]:
    found = estimate(methods, [1, -1], speakers)
    return [found.p < 0.05, found.low <= 0 <= found.high]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--speakers", type=int, nargs="+", default=[2, 4, 8, 20])
    parser.add_argument("--by-speaker", type=float, default=0.0, metavar="DB")
    parser.add_argument("--interaction", type=float, default=0.0, metavar="DB")
    parser.add_argument(
        "--between-trainings", type=float, nargs=2, default=(0.3, 0.3), metavar="DB",
        help="of the first and of the second setting (default 0.3 0.3)",
    )  # fmt: skip
    options = parser.parse_args()
    tried = (pooled, crossed, components)
    named = " | ".join(one.__name__ for one in tried)
    print(f"| seeds | speakers | false alarms (%): {named} | coverage (%): {named} |")
    print("|" + "---|" * (2 + 2 * len(tried)))
    for seeds, speakers in itertools.product(options.seeds, options.speakers):
        rng = np.random.default_rng([seeds, speakers])
        whose = np.repeat(np.arange(speakers), _EACH)
        said = np.zeros((len(tried), 2))
        for _ in range(options.draws):
            level = 3 * rng.normal(size=speakers)[whose]
            methods = [
                level
                + (trained if seeds > 1 else 0) * rng.normal(size=(seeds, 1))
                + options.by_speaker / np.sqrt(2) * rng.normal(size=speakers)[whose]
                + options.interaction * rng.normal(size=(seeds, speakers))[:, whose]
                + 0.2 * rng.normal(size=(seeds, len(whose)))
                for trained in options.between_trainings
            ]
            said += [one(methods, whose, rng) for one in tried]
        shares = 100 * said / options.draws
        cells = [*shares[:, 0], *shares[:, 1]]
        print(
            f"| {seeds} | {speakers} | " + " | ".join(f"{x:.1f}" for x in cells) + " |", flush=True
        )


if __name__ == "__main__":
    main()
