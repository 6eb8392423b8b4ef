"""The ``denoise`` command: enhance recordings and streams, score files, list and export models."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import soundfile

import denoise
from denoise import audio, files
from denoise.errors import UserError, did_you_mean, is_full_disk, one_line_errors
from denoise.metrics import METRICS
from denoise.parallel import progress

if TYPE_CHECKING:
    from denoise.enhancement import Enhancer

MODELS = Path("results/models")
READY = ("best", "stream")
"""The models that come with the program: for recordings, and for streams."""
PCM = {"s16le": "<i2", "f32le": "<f4"}
"""Formats of a stream's samples, and their NumPy types."""
_MOST_CLIPPED = 1e-3
_MOST_PLOTTED_S = 600
_MADE = ".enhanced"
_OTHER_SUFFIXES = frozenset(
    (".aif", ".aifc", ".aiff", ".au", ".caf", ".m4a", ".opus", ".rf64", ".snd", ".w64", ".wma")
)
"""Audio that is not looked for in folders; some of it is read when it is named."""


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    top = argparse.ArgumentParser(
        prog="denoise", description="Use and compare the speech denoisers that were trained here."
    )
    top.add_argument("--version", action="version", version=f"denoise {denoise.__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    enhance = verbs.add_parser(
        "enhance",
        help="denoise recordings",
        description="Denoise recordings of any rate, number of channels and format.",
    )
    enhance.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder")
    enhance.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file for one input, folder for several; default NAME.enhanced.EXT beside each input",
    )
    enhance.add_argument(
        "--model",
        help=f"a model listed by `denoise models`, or a model folder; default {READY[0]}, which "
        "comes ready to use",
    )
    enhance.add_argument("--overlap", type=float, default=0.5, help="share of a window, 0 to 0.9")
    enhance.add_argument(
        "--plot", action="store_true", help="also draw waveforms and spectrograms before and after"
    )
    existing = enhance.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="overwrite existing outputs")
    existing.add_argument(
        "--skip-existing", action="store_true", help="enhance only what has no output yet"
    )
    enhance.set_defaults(run=run_enhance)

    score = verbs.add_parser(
        "score",
        help="score enhanced files against clean ones",
        description="Score files of the same names: SNR, SI-SDR, PESQ, STOI and the others.",
    )
    score.add_argument("--clean", type=Path, required=True, metavar="DIR", help="clean references")
    score.add_argument("--enhanced", type=Path, required=True, metavar="DIR", help="to be scored")
    score.add_argument("--noisy", type=Path, metavar="DIR", help="scored too, for comparison")
    score.add_argument(
        "-o", "--output", type=Path, default=Path("scores.csv"), help="table (default scores.csv)"
    )
    score.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default all)")
    score.add_argument("--force", action="store_true", help="overwrite an existing table")
    score.set_defaults(run=run_score)

    models = verbs.add_parser(
        "models",
        help="list the trained models with their scores",
        description="List the models that come with the program, and those trained in this folder "
        "with their scores, newest first.",
    )
    models.set_defaults(run=run_models)

    stream = verbs.add_parser(
        "stream",
        help="denoise audio as it comes",
        description="Denoise raw PCM (mono, at the model's rate) from standard input, or a "
        "microphone, to standard output, block by block. Example: arecord -t raw -f S16_LE "
        "-r 16000 | denoise stream | aplay -t raw -f S16_LE -r 16000",
    )
    stream.add_argument(
        "--model",
        default=READY[1],
        help="a causal model listed by `denoise models`, or its folder (default %(default)s)",
    )
    stream.add_argument(
        "--format", choices=sorted(PCM), default="s16le", help="samples (default %(default)s)"
    )
    stream.add_argument(
        "--microphone",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="read from a microphone: the default one, or one by number or name",
    )
    stream.set_defaults(run=run_stream)

    export = verbs.add_parser(
        "export",
        help="write a model for other run-times",
        description="Write a model's network with what is needed to use it; examples/exported.py "
        "runs the result without this package.",
    )
    export.add_argument(
        "model", nargs="?", default=READY[0], help="a model or its folder (default %(default)s)"
    )
    export.add_argument("--format", required=True, choices=["litert", "onnx", "savedmodel"])
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        help="default NAME.tflite, NAME.onnx or the folder NAME.savedmodel",
    )
    export.add_argument(
        "--frames", type=int, help="frames of a call, where the network leaves that open"
    )
    export.add_argument("--force", action="store_true", help="overwrite an existing output")
    export.set_defaults(run=run_export)

    where = verbs.add_parser(
        "where", help="say where the newest report is", description="Say where the results are."
    )
    where.set_defaults(run=run_where)
    return top


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends it with one line and status 1."""
    options = parser().parse_args(arguments)
    try:
        with one_line_errors(), _ended_by_sigterm():
            options.run(options)
    except KeyboardInterrupt:
        print("interrupted: what was complete is kept", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the program as an error does, so that nothing half-written is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def trained_models() -> pd.DataFrame:
    """A row for each model of this folder and test set with its mean scores, newest model first.

    Columns ``variant``, ``seed``, ``rate``, ``parameters``, ``folder``, ``trained`` (seconds since
    1970), and, where it was scored, ``test_set``, its ``split`` and the metrics.
    """
    rows = []
    for card_path in MODELS.glob("*/seed*/card.json"):
        folder = card_path.parent
        try:
            card = files.read_json(card_path)
            about = {name: card[name] for name in ("variant", "seed", "rate", "parameters")}
        except (ValueError, KeyError, TypeError, OSError) as error:
            print(f"warning: {card_path} is no model card ({error!r})", file=sys.stderr)
            continue
        about |= {"folder": str(folder), "trained": card_path.stat().st_mtime}
        tables = sorted(Path("results/scores").glob(f"{card['variant']}/{folder.name}/*.csv"))
        for path in tables:
            try:
                table = files.read_table(path)
                split = table["split"].iloc[0]
                means = table.reindex(columns=list(METRICS)).mean().round(3).to_dict()
            except (ValueError, KeyError, IndexError, TypeError) as error:
                print(f"warning: {path} is no table of scores ({error!r})", file=sys.stderr)
                rows.append(about)
                continue
            rows.append({**about, "test_set": path.stem, "split": split, **means})
        if not tables:
            rows.append(about)
    table = pd.DataFrame(rows)
    if rows:
        table = table.sort_values(["trained", "folder"], ascending=[False, True], kind="stable")
    return table.reset_index(drop=True)


def ready_folder() -> Path:
    """Where the models are that come with the program."""
    package = Path(denoise.__file__).parent
    installed = package / "pretrained"
    return installed if installed.is_dir() else package.parents[1] / "pretrained"


def find_model(name: str) -> Path:
    """The folder of a model by path or name: those trained here go before those that are ready."""
    if (Path(name) / "model.keras").is_file():
        return Path(name)
    table = trained_models()
    trained = table[table["variant"] == name] if len(table) else table
    if trained.empty:
        if (ready_folder() / name / "card.json").is_file():
            return ready_folder() / name
        if Path(name).is_dir():
            raise UserError(
                f"{name} is not a model: it has no model.keras (see `denoise models` for those "
                "that are trained here)"
            )
        ready = (name for name in READY if (ready_folder() / name / "card.json").is_file())
        known = list(dict.fromkeys([*ready, *(table["variant"] if len(table) else ())]))
        raise UserError(
            f"no model '{name}'{did_you_mean(name, known)}: there are {', '.join(known)}"
        )
    return Path(trained["folder"].iloc[0])


def run_enhance(options: argparse.Namespace) -> None:
    """Carry out ``denoise enhance``."""
    if not 0 <= options.overlap <= 0.9:
        raise UserError(f"--overlap {options.overlap:g} must be between 0 and 0.9")
    jobs = _output_paths(options.inputs, options.output)
    if options.skip_existing:
        asked, jobs = jobs, [job for job in jobs if not job[1].exists()]
        if len(jobs) < len(asked):
            print(f"{len(asked) - len(jobs)} of {len(asked)} outputs exist", file=sys.stderr)
        if not jobs:
            return
    _check_targets(jobs, plot=options.plot, force=options.force)
    folder = find_model(options.model or str(ready_folder() / READY[0]))
    # Headers are looked at before the network is loaded, so that a wrong name is told at once.
    unreadable = {source for source, _ in jobs if not _readable(source)}
    for source in sorted(unreadable):
        reason = f"{source} cannot be read as audio: give a wav, flac, ogg or mp3 file"
        if len(unreadable) == len(jobs) == 1:
            raise UserError(reason)
        print(f"error: {reason}", file=sys.stderr)
    if len(unreadable) == len(jobs):
        raise UserError(f"none of {len(jobs)} files can be read as audio")
    from denoise.enhancement import Enhancer

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_native_libraries():
        enhancer = Enhancer.load(folder, options.overlap)
    print(f"model {folder}, {enhancer.rate} Hz", file=sys.stderr)
    failed = len(unreadable)
    for number, (source, target) in enumerate(jobs, 1):
        if source in unreadable:
            continue
        try:
            _enhance_file(enhancer, source, target, plot=options.plot)
        except (audio.UnusableAudio, OSError) as reason:
            if is_full_disk(reason):
                raise
            failed += 1
            print(f"error: {source} {reason}", file=sys.stderr)
            continue
        print(f"[{number}/{len(jobs)}] {source} -> {target}", file=sys.stderr)
    if failed:
        raise UserError(f"{failed} of {len(jobs)} files could not be enhanced")


@contextlib.contextmanager
def _quiet_native_libraries() -> Iterator[None]:
    """Hide what compiled libraries write to the terminal while a network is loaded."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _check_targets(jobs: list[tuple[Path, Path]], *, plot: bool, force: bool) -> None:
    """Raise `UserError` if an output exists already or two inputs would have the same one."""
    sources: dict[Path, Path] = {}
    for source, target in jobs:
        for made in (target, target.with_suffix(".png")) if plot else (target,):
            if made in sources:
                raise UserError(
                    f"{sources[made]} and {source} would both be written to {made}: enhance them "
                    "one by one"
                )
            sources[made] = source
            if made.is_dir():
                raise UserError(f"{made} is a folder: give another -o")
            if made.exists() and not force:
                raise UserError(
                    f"{made} exists already: give --force to overwrite, --skip-existing to enhance "
                    "only what has no output yet, or another -o"
                )


def _output_paths(inputs: list[Path], output: Path | None) -> list[tuple[Path, Path]]:
    """Input and output file of each recording; formats that are only read become WAV."""
    pairs = []
    for path in inputs:
        path = path.resolve() if path.name in {"", ".."} else path
        if path.is_dir():
            root = output or path.with_name(f"{path.name}.enhanced")
            pairs += [(file, root / file.relative_to(path)) for file in _recordings(path)]
        elif not path.exists():
            raise UserError(f"{path} does not exist: give an audio file or a folder of them")
        elif not path.is_file():
            raise UserError(f"{path} is not a regular file: `denoise stream` reads what is piped")
        elif output is None:
            pairs.append((path, path.with_name(f"{path.stem}{_MADE}{path.suffix}")))
        elif len(inputs) == 1 and audio.has_audio_suffix(output):
            pairs.append((path, output))
        elif audio.has_audio_suffix(output) and not output.is_dir():
            raise UserError(f"-o {output} is one file: give a folder for {len(inputs)} inputs")
        elif output.suffix and not output.is_dir():
            raise UserError(
                f"-o {output}: '{output.suffix}' is no format that can be written: give a wav, "
                "flac, ogg or mp3 file, or a folder"
            )
        else:
            pairs.append((path, output / path.name))
    return [
        (source, target if audio.has_audio_suffix(target) else target.with_suffix(".wav"))
        for source, target in pairs
    ]


def _recordings(folder: Path) -> list[Path]:
    """What is to be enhanced in a folder; says what of it is not."""
    found = audio.audio_files(folder)
    names = {path.with_suffix("") for path in found}
    own = {path for path in found if path.stem.endswith(_MADE) and _source(path) in names}
    others = [path for path in folder.rglob("*") if path.suffix.lower() in _OTHER_SUFFIXES]
    for what, paths in (
        ("made by this command", own),
        ("of formats that folders leave out", others),
    ):
        if paths:
            print(f"{len(paths)} files {what} are left out: {min(paths)}, …", file=sys.stderr)
    return [path for path in found if path not in own]


def _source(path: Path) -> Path:
    """Without its suffixes, what an output of this command was made of."""
    return path.with_suffix("").with_suffix("")


def _readable(path: Path) -> bool:
    """Whether a file has the header of an audio file."""
    try:
        soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError):
        return False
    return True


def _enhance_file(enhancer: Enhancer, source: Path, target: Path, *, plot: bool) -> None:
    recording = audio.Recording(source)
    rate, channels = recording.rate, recording.channels
    same = source.suffix.lower() == target.suffix.lower()
    subtype = recording.subtype if same else None
    clipped = given = 0
    with (
        progress(None, source.name, recording.samples // rate) as bar,
        files.replacing(target) as temporary,
        audio.writing(temporary, rate, (recording.samples, channels), subtype) as put,
    ):
        for enhanced in enhancer.enhance_blocks(recording, rate, channels):
            put(enhanced)
            clipped += int(np.count_nonzero(np.abs(enhanced) > 1))
            bar.update((given + len(enhanced)) // rate - given // rate)
            given += len(enhanced)
    share = clipped / (given * channels)
    if share > _MOST_CLIPPED and subtype not in audio.FLOAT_SUBTYPES:
        print(
            f"warning: {target}: {share:.1%} of the samples were beyond full scale and are "
            "clipped: lower the level of the input",
            file=sys.stderr,
        )
    if plot:
        _plot(source, target)


def _plot(source: Path, target: Path) -> None:
    """Draw a recording before and after; of a long one, the beginning."""
    from denoise.report import figures

    waves = {}
    for name, path in (("before", source), ("after", target)):
        recording = audio.Recording(path)
        most = _MOST_PLOTTED_S * recording.rate
        mono = (block.mean(axis=1) for block in recording)
        waves[name] = next(audio.rechunked(mono, most))
    if recording.samples > most:
        print(f"the plot shows the first {_MOST_PLOTTED_S // 60} minutes", file=sys.stderr)
    with files.replacing(target.with_suffix(".png")) as temporary:
        figures.signals(waves, recording.rate).savefig(temporary, format="png", dpi=110)


def run_score(options: argparse.Namespace) -> None:
    """Carry out ``denoise score``."""
    from denoise.scoring import score_folders

    if options.output.is_dir():
        raise UserError(f"-o {options.output} is a folder: give the name of a table")
    if options.output.exists() and not options.force:
        raise UserError(f"{options.output} exists already: give --force or another -o")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs} must be at least 1")
    table = score_folders(options.clean, options.enhanced, options.noisy, processes=options.jobs)
    files.write_table(options.output, table)
    means = pd.DataFrame(
        {
            # Over the files for which every method has a value: others would be unlike sets.
            name: table.pivot_table(name, "file", "method", dropna=False).dropna().mean()
            for name in METRICS
        },
        index=table["method"].unique(),
    ).dropna(axis=1, how="all")
    failed = table["status"].ne("ok").groupby(table["method"], sort=False).sum()
    counts = table.groupby("method", sort=False).size()
    means.insert(0, "files", counts)
    means.insert(1, "failed", failed)
    print(means.round(3).to_string())
    for row in table[table["status"] != "ok"].itertuples():
        print(f"{row.method} {row.file}: {row.status}", file=sys.stderr)
    if failed.any():
        print("means are over the files that have a value for every method", file=sys.stderr)
    print(f"a row for each file: {options.output}", file=sys.stderr)


def run_models(options: argparse.Namespace) -> None:
    """Carry out ``denoise models``."""
    for name in READY:
        path = ready_folder() / name / "card.json"
        if path.is_file():
            card = files.read_json(path)
            print(f"{name}: ready to use, {card['rate']} Hz, {card['parameters']:,} parameters")
    table = trained_models()
    if table.empty:
        print("no model is trained in this folder yet: run `snakemake --cores all all`")
        return
    shown = ["variant", "seed", "rate", "parameters", "test_set", "split", "si_sdr",
             "pesq_nb", "pesq_wb", "stoi", "folder"]  # fmt: skip
    columns = [name for name in shown if name in table and table[name].notna().any()]
    print(table[columns].replace({np.nan: "–"}).to_string(index=False))


def run_stream(options: argparse.Namespace) -> None:
    """Carry out ``denoise stream``."""
    folder = find_model(options.model)
    if options.microphone is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError(
            "standard input is a terminal or closed: pipe raw PCM into `denoise stream`, or give "
            "--microphone"
        )
    from denoise import backend, streaming

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_native_libraries():
        backend.start("tensorflow", threads=1, deterministic=False)
        stream = streaming.load(folder)
        stream.warm_up()
    kind = np.dtype(PCM[options.format])
    print(
        f"model {folder}: {stream.rate} Hz mono {options.format}, blocks of {stream.hop} samples, "
        f"latency {1000 * stream.latency / stream.rate:g} ms",
        file=sys.stderr,
    )
    if options.microphone is None:
        blocks = streaming.blocks_of(sys.stdin.buffer, stream.hop, kind)
    else:
        blocks = streaming.blocks_of_microphone(options.microphone, stream.rate, stream.hop)
    times = streaming.follow(stream, blocks, sys.stdout.buffer, kind)
    if times.count:
        print(times.summary(stream.hop / stream.rate), file=sys.stderr)


def run_export(options: argparse.Namespace) -> None:
    """Carry out ``denoise export``."""
    from denoise import exporting

    folder = find_model(options.model)
    if options.frames is not None and options.frames < 1:
        raise UserError(f"--frames {options.frames} must be at least 1")
    suffix = exporting.FORMATS[options.format]
    from denoise.enhancement import read_card

    target = options.output or Path(read_card(folder)["variant"] + suffix)
    if options.format != "savedmodel" and target.suffix != suffix:
        raise UserError(f"-o {target}: {options.format} files end in {suffix}")
    if target.exists() and not options.force:
        raise UserError(f"{target} exists already: give --force to overwrite, or another -o")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_native_libraries():
        about = exporting.export(folder, options.format, target, options.frames)
    shapes = ", ".join("x".join(str(n or "any") for n in shape) for shape in about["inputs"][:1])
    states = f" and {about['states']} states" if about["states"] else ""
    print(f"{folder} -> {target}: input {shapes}{states}", file=sys.stderr)


def run_where(options: argparse.Namespace) -> None:
    """Carry out ``denoise where``: the report of ``config.yaml``, or else the newest."""
    reports = sorted(Path("reports").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    if Path("config.yaml").is_file():
        from denoise.config import read_yaml

        config = read_yaml(Path("config.yaml"))
        name = config.get("experiment") or Path(str(config.get("preset", ""))).stem
        reports += [path for path in reports if path.parent.name == name]
    if not reports:
        raise UserError("there is no report in this folder yet: run `snakemake --cores all all`")
    print(f"Report:      {reports[-1].resolve()}")
    print(f"Leaderboard: {reports[-1].with_name('leaderboard.csv').resolve()}")
    print("MLflow UI:   make ui, then open http://127.0.0.1:5000")
    print("Your files:  denoise enhance noisy.wav")


if __name__ == "__main__":
    main()
