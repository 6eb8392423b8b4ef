"""``denoise listen``: make a blind listening test, and score what listeners said."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from denoise.cli.shared import add_json, expanded, must_be_new, print_json
from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.terminal import say, show
from denoise.study import paths

_MOST_UTTERANCES = 200
"""More than anybody listens to."""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "listen",
        examples=[
            "denoise listen quickstart --utterances 10",
            "denoise listen --score ratings/*.json",
        ],
        description="Write a page on which people rate or compare versions of utterances without "
        "knowing which is which; nothing but a browser is needed to use it. With --score, make "
        "the table of what they saved, and put it into the report.",
    )
    verb.add_argument("experiment", nargs="?", help="the name of its folder in reports/")
    verb.add_argument(
        "--score", nargs="+", type=Path, metavar="FILE", help="files that listeners saved"
    )
    verb.add_argument(
        "--kind",
        choices=["mushra", "ab"],
        default="mushra",
        help="rate all versions beside each other, with hidden reference and anchor (ITU-R "
        "BS.1534), or prefer one of two (default %(default)s)",
    )
    verb.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="variants and baselines; default the best five variants and the best baseline",
    )
    verb.add_argument("--utterances", type=int, default=6, help="how many (default %(default)s)")
    verb.add_argument("--test-set", metavar="NAME", help="default the first")
    verb.add_argument(
        "--seed", type=int, help="of the order of the versions; default one that nobody can guess"
    )
    verb.add_argument("-o", "--output", type=Path, help="default reports/EXPERIMENT/listening.html")
    verb.add_argument("--force", action="store_true", help="overwrite an existing test")
    add_json(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise listen``."""
    if options.score and options.experiment:
        raise UserError(
            "give either an experiment or --score with files, which name their experiment"
        )
    if options.score:
        _score(options)
    elif options.experiment:
        _make(options)
    else:
        raise UserError("name an experiment (see reports/), or give --score with files")


def _make(options: argparse.Namespace) -> None:
    from denoise.report import blind
    from denoise.study.results import report_folder

    if not 1 <= options.utterances <= _MOST_UTTERANCES:
        raise UserError(
            f"--utterances {options.utterances} must be at least 1 and at most {_MOST_UTTERANCES}"
        )
    if options.seed is not None and options.seed < 0:
        raise UserError(f"--seed {options.seed} must not be negative")
    folder = report_folder(options.experiment)
    page_path = options.output or folder / "listening.html"
    key_path = folder / "listening.json"
    must_be_new(page_path, ".html", force=options.force)
    if key_path.exists() and not options.force:
        raise UserError(
            f"{key_path} exists already: without it the ratings of the earlier test cannot be "
            "scored; give --force to overwrite it"
        )
    page, key = blind.make_page(
        folder,
        blind.BlindTest(
            options.kind,
            options.test_set,
            tuple(options.methods or ()),
            options.utterances,
            options.seed,
        ),
    )
    page_path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(key_path, key)
    files.write_text(page_path, page)
    trials = len(key["trials"])
    if options.json:
        print_json({"page": page_path, "key": key_path, **key})
        return
    size = len(page) / 1e6
    show(f"{page_path}: {trials} pages, {size:.1f} MB, methods {', '.join(key['methods'])}")
    show(f"{key_path}: which version is which; keep it, and keep it from listeners")
    say("Afterwards: denoise listen --score ratings/*.json")


def _score(options: argparse.Namespace) -> None:
    from denoise.evaluation import listening
    from denoise.report import blind

    key, listeners = listening.read_ratings(
        expanded(options.score), lambda experiment: paths.report(experiment, "listening.json")
    )
    table, left_out = listening.score(key, listeners)
    folder = paths.report(key["experiment"])
    counted = len(listeners) - len(left_out)
    in_report = blind.write(folder, key["kind"], table, counted, len(left_out))
    if options.json:
        print_json({"kind": key["kind"], "listeners": counted, "left_out": left_out, "rows": table})
    else:
        show(*table.round(3).to_string(index=False).split("\n"))
    for name in left_out:
        say(
            f"left out: {name}, who rated the hidden reference below 90 in more than 15 % of the "
            "trials"
        )
    where = f" and in {folder / 'report.html'}" if in_report else ""
    say(f"{counted} listener{'s' if counted != 1 else ''}: {folder / 'listening.csv'}{where}")
