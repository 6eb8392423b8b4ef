"""What a paper says of an experiment: a paragraph on its methods, and what it cites.

The paragraph is written from the record of the experiment and from what was made, so that it says
nothing that was not done.  It is Markdown with citations as of Pandoc, ``[@key]``; `as_latex`
makes LaTeX of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from importlib import resources
from typing import Any

from denoise.core.differences import differences
from denoise.core.labels import brief_value
from denoise.core.provenance import installed
from denoise.evaluation.experiment import ExperimentRecord
from denoise.metrics.registry import SCORED
from denoise.report.background import TrainedModel
from denoise.report.exports import latex
from denoise.training import losses

USES = ("references.bib",)

_CORPORA = {
    "voicebank_demand": ("VoiceBank-DEMAND", "valentini2017noisy", "thiemann2013demand"),
    "librispeech": ("LibriSpeech", "panayotov2015librispeech"),
    "esc50": ("ESC-50", "piczak2015esc"),
    "vctk": ("VCTK", "yamagishi2019vctk"),
    "speechocean762": ("speechocean762", "zhang2021speechocean"),
    "common_voice": ("Common Voice", "ardila2020commonvoice"),
    "musan": ("MUSAN", "snyder2015musan"),
    "demand": ("DEMAND", "thiemann2013demand"),
    "wham": ("WHAM! noise", "wichern2019wham"),
    "dns_challenge": ("the DNS Challenge", "reddy2021dns"),
    "rirs_noises": ("OpenSLR 28", "ko2017reverberant"),
    "air": ("the Aachen Impulse Response Database", "jeub2009air"),
    "simulated_rooms": ("simulated rooms", "allen1979image", "scheibler2018pyroomacoustics"),
    "synthetic": ("eSpeak NG's synthetic voices and generated noise",),
    "folder": ("own recordings",),
    "pairs": ("own pairs of clean and noisy recordings",),
}
"""Corpus → name and references."""
_BASELINES = {
    "noisy": ("noisy",),
    "rnnoise": ("RNNoise", "valin2018rnnoise"),
    "logmmse": ("log-MMSE", "ephraim1985logmmse"),
    "noisereduce": ("noisereduce", "sainburg2019noisereduce"),
    "webrtc": ("WebRTC NS",),
    "deepfilternet3": ("DeepFilterNet3", "schroeter2023deepfilternet"),
    "oracle": ("IRM (oracle)", "wang2014targets"),
    "clean": ("clean speech",),
}
"""Baseline → name and references."""
_NETWORKS = {
    "unet": ("a U-Net", "ronneberger2015unet"),
    "temporal_unet": ("a U-Net over frequency with a temporal bottleneck", "ronneberger2015unet"),
    "autoencoder": ("a convolutional autoencoder",),
}
_MOST_PATHS = 8
"""Largest number of settings that are named."""
_INPUTS = {
    "level": "logarithmic magnitudes",
    "level_and_phase": "logarithmic magnitudes and phases",
    "compressed": "compressed magnitudes",
    "compressed_complex": "compressed magnitudes with their real and imaginary parts",
}
_TARGETS = {
    "noise": "the difference of noisy and clean levels in decibels, which is subtracted from the "
    "noisy ones; the phase is the noisy one",
    "clean": "the clean levels in decibels; the phase is the noisy one",
    "mask": "a mask of magnitudes; the phase is the noisy one",
    "complex_mask": "a complex mask",
    "mask_and_phase_correction": "a mask of magnitudes and a correction of the phase",
}


def title_of(baseline: str) -> str:
    """Name of a baseline in figures and tables."""
    return _BASELINES.get(baseline, (baseline,))[0]


def methods(
    record: ExperimentRecord,
    data: dict[str, Any],
    trained: list[TrainedModel],
    measured: Collection[str],
) -> str:
    """The paragraph.

    Parameters
    ----------
    data
        As of `background.data_card`.
    measured
        The metrics that have values.
    """
    recipe = next(iter(record.variants.values())).recipe
    sentences = [
        _speech_and_noise(recipe),
        _split(recipe, data),
        _mixed(recipe, data),
        _network(recipe, trained),
        _training(record, recipe, trained),
        applied(record),
        _tested(record, data),
        _measured(record, measured),
        _tested_for_significance(record),
        _software(recipe, trained),
        _others(record),
    ]
    return " ".join(filter(None, sentences)) + "\n"


def as_latex(text: str) -> str:
    """The paragraph for LaTeX."""
    parts = re.split(r"\s\[((?:@[\w-]+(?:; )?)+)\]", text)
    return "".join(
        rf"~\cite{{{part.replace('@', '').replace('; ', ',')}}}" if number % 2 else latex(part)
        for number, part in enumerate(parts)
    )


def bibliography(text: str) -> str:
    """The entries for BibTeX that a paragraph cites.

    Raises
    ------
    KeyError
        If there is none for a citation.
    """
    whole = resources.files("denoise.report").joinpath("references.bib").read_text("utf-8")
    entries = {
        re.match(r"@\w+\{([\w-]+),", entry)[1]: entry.rstrip() + "\n"  # type: ignore[index]
        for entry in re.split(r"^(?=@)", whole, flags=re.MULTILINE)
        if entry.strip()
    }
    return "".join(entries[key] for key in dict.fromkeys(re.findall(r"@([\w-]+)", text)))


def example(tables: list[str], figures: list[str]) -> str:
    """A LaTeX page with the paragraph, tables and figures, referred to by file name."""
    shown = [rf"\input{{../tables/{name}.tex}}" for name in tables]
    drawn = [
        "\n".join(
            [
                r"\begin{figure}[!htbp]",
                r"\centering",
                rf"\includegraphics[width=0.45\linewidth]{{../figures/{name}.pdf}}",
                rf"\caption{{{latex(caption)}}}",
                rf"\label{{fig:{name}}}",
                r"\end{figure}",
            ]
        )
        for name, _, caption in (one.partition(": ") for one in figures)
    ]
    return "\n".join(
        [
            "% pdflatex example; bibtex example; pdflatex example; pdflatex example",
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[a4paper,margin=20mm]{geometry}",
            r"\usepackage{booktabs,caption,graphicx,url}",
            r"\captionsetup[table]{skip=6pt}",
            r"\begin{document}",
            r"\section*{Methods}",
            r"\input{methods.tex}",
            r"\section*{Results}",
            *(rf"Table~\ref{{tab:{name}}} has the means of all methods." for name in tables),
            *(
                rf"Figure~\ref{{fig:{one.partition(': ')[0]}}} shows them by SNR."
                for one in figures
            ),
            *shown,
            *drawn,
            r"\bibliographystyle{plain}",
            r"\bibliography{references}",
            r"\end{document}",
            "",
        ]
    )


def _cited(text: str, *keys: str) -> str:
    return f"{text} [{'; '.join(f'@{key}' for key in keys)}]" if keys else text


def _joined(parts: Iterable[str]) -> str:
    several = list(dict.fromkeys(parts))
    return " and ".join(filter(None, [", ".join(several[:-1]), several[-1]])) if several else ""


def _corpora(sources: list[dict[str, Any]]) -> str:
    return _joined(_cited(*_CORPORA.get(one["corpus"], (one["corpus"],))) for one in sources)


def _speech_and_noise(recipe: dict[str, Any]) -> str:
    rate = f"{recipe['audio']['sample_rate'] / 1000:g} kHz"
    noise = recipe["data"]["noise"]
    if not noise:
        return f"Pairs of clean and noisy speech came from {_corpora(recipe['data']['speech'])}, " \
               f"resampled to {rate}."  # fmt: skip
    same = {one["corpus"] for one in recipe["data"]["speech"]} == {one["corpus"] for one in noise}
    if same:
        return f"Speech and noise came from {_corpora(noise)}, resampled to {rate}."
    return (
        f"Speech came from {_corpora(recipe['data']['speech'])} and noise from {_corpora(noise)}, "
        f"resampled to {rate}."
    )


def _split(recipe: dict[str, Any], data: dict[str, Any]) -> str:
    spoken = {
        part: sum(row["speakers"] for row in data["splits"] if row["split"] == part)
        for part in ("train", "validation", "test")
    }
    if not spoken["train"]:
        return ""
    named = zip(("training", "validation", "testing"), spoken.values(), strict=True)
    counts = [f"{_several(count, 'speaker')} for {name}" for name, count in named if count]
    types = {
        part: {name for row in data["splits"] if row["split"] == part
               for name in row["noise_types"].split(", ") if name}
        for part in spoken
    }  # fmt: skip
    seen = len(types["test"] & types["train"])
    mixed = bool(recipe["data"]["noise"])
    whose = "speaker and no noise recording" if mixed else "speaker"
    by_window = recipe["data"]["splits"]["by_window"]
    sets = "training and test sets" if by_window else "training, validation and test sets"
    text = f"No {whose} is in more than one of the {sets}: {_joined(counts)}."
    if types["test"] and mixed:
        text += (
            f" Of {_several(len(types['test']), 'type')} of noise that are tested, {seen} occur in "
            "training too, in other recordings."
        )
    return text


def _mixed(recipe: dict[str, Any], data: dict[str, Any]) -> str:
    windows = [row for row in data["windows"] if row["part"] == "train"]
    if not windows:
        return ""
    length = recipe["mixing"]["segment"] / recipe["audio"]["sample_rate"]
    counts = sorted({int(row["windows"]) for row in windows})
    told = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    hours = max(row["hours"] for row in windows)
    text = f"Networks were trained on {told} windows of {length:.2f} s ({hours:.2g} h in all)"
    levels = recipe["mixing"]
    if recipe["data"]["noise"] and levels.get("snr_range_db"):
        low, high = levels["snr_range_db"]
        text += (
            f", mixed at SNRs drawn uniformly from {brief_value(low)} to {brief_value(high)} dB, "
            f"the speech taken at its active level {_cites('itu2011p56')}"
        )
    elif recipe["data"]["noise"] and levels.get("snr_db"):
        text += f", mixed at SNRs of {_joined(map(brief_value, levels['snr_db']))} dB"
    if levels["rooms"]["share"]:
        text += f", impulse responses of rooms from {_corpora(recipe['data']['rooms'])}"
    worse = list(dict.fromkeys(row["conditions"] for row in windows if row["conditions"]))
    return f"{text}{f' ({worse[0]})' if len(worse) == 1 else ''}."


def _network(recipe: dict[str, Any], trained: list[TrainedModel]) -> str:
    stft = recipe["features"]["stft"]
    rate = recipe["audio"]["sample_rate"]
    names = _joined(
        _cited(*_NETWORKS.get(one.card.network.name, (one.card.network.name,))) for one in trained
    )
    sizes = sorted({one.card.parameters for one in trained})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    taken = recipe["features"]["input"]
    return (
        f"The network is {names} of {size} parameters. From the {_INPUTS.get(taken, taken)} of a "
        f"short-time Fourier transform (Hann window of {stft['n_fft']} samples, "
        f"{1000 * stft['n_fft'] / rate:.1f} ms, every {stft['hop']} samples, "
        f"{1000 * stft['hop'] / rate:.1f} ms) it estimates "
        f"{_TARGETS[recipe['features']['target']]}."
    )


def _training(record: ExperimentRecord, recipe: dict[str, Any], trained: list[TrainedModel]) -> str:
    training = recipe["training"]
    name = training["optimiser"]["name"]
    keys = {"adam": ["kingma2015adam"], "adamw": ["loshchilov2019adamw"]}.get(name, [])
    optimiser = _cited({"adam": "Adam", "adamw": "AdamW"}.get(name, name), *keys)
    several = list(dict.fromkeys(losses.label(one.card.training["loss"]) for one in trained))
    used = f"loss {several[0]}" if len(several) == 1 else f"losses {_joined(several)}"
    warm = training["schedule"].get("warmup_epochs", 0)
    discriminator = (training.get("adversarial") or {}).get("kind", "none")
    by = "lowest validation loss" if discriminator == "none" else "highest validation PESQ"
    kept = f"the epoch with the {by}" if training["keep"] == "best" else "the last epoch"
    text = (
        f"Training took {_several(training['epochs'], 'epoch')} of {optimiser} in batches of "
        f"{training['batch_size']} at a learning rate of {brief_value(training['learning_rate'])} "
        f"({training['schedule']['kind']} schedule"
        + (f" after {_several(warm, 'epoch')} of warm-up" if warm else "")
        + f") with the {used}; {kept} was kept."
    )
    if discriminator == "metric":
        text += f" {_cited('A metric discriminator was added', 'fu2021metricganplus')}."
    elif discriminator == "least_squares":
        text += " A least-squares discriminator was added."
    seeds = len(record.seeds)
    text += (
        f" Each configuration was trained with {seeds} seeds."
        if seeds > 1
        else " Each configuration was trained once."
    )
    values = {
        path: _joined(brief_value(variant.differs[path]) for variant in record.variants.values())
        for path in record.sweep
        if path != "training.loss"
    }
    varied = [f"{path} ({told})" for path, told in values.items()]
    return text + (f" Configurations differ in {_joined(varied)}." if varied else "")


def applied(record: ExperimentRecord) -> str:
    """The limits of strength with which the networks were applied, if any."""
    told = []
    for label, variant in record.variants.items():
        settings = variant.recipe.get("enhancement", {})
        limits = []
        if settings.get("max_attenuation_db") is not None:
            limits.append(
                f"no bin was attenuated by more than {brief_value(settings['max_attenuation_db'])} "
                "dB"
            )
        if settings.get("strength", 1) != 1:
            limits.append(
                f"the output has a share of {brief_value(settings['strength'])} of the enhanced "
                "signal, the rest being the input"
            )
        if limits:
            told.append(f"With {variant.short or label} {_joined(limits)}.")
    return " ".join(told)


def _tested(record: ExperimentRecord, data: dict[str, Any]) -> str:
    sets = [
        f"{_several(row['utterances'], 'utterance')} of {_several(row['speakers'], 'speaker')}"
        + _with(row["noise_types"])
        + _at(row["snrs"])
        + (f" ({row['conditions']})" if row["conditions"] else "")
        for row in data["tests"]
    ]
    compared = [
        _cited(*_BASELINES[name])
        for name, method in record.methods.items()
        if method.kind == "baseline" and name in _BASELINES and name != "noisy"
    ]
    text = f"The test set{'s have' if len(sets) > 1 else ' has'} {_joined(sets)}."
    others = _joined(["the unprocessed input", *compared])
    return f"{text} The networks are compared with {others}."


def _with(noise_types: list[str]) -> str:
    return f" with {_several(len(noise_types), 'type')} of noise" if noise_types else ""


def _at(snrs: list[float]) -> str:
    """The SNRs of a test set in words; their ends where they are many."""
    if not snrs:
        return ""
    if len(snrs) > 12:
        return f" at SNRs from {brief_value(snrs[0])} to {brief_value(snrs[-1])} dB"
    return f" at SNRs of {_joined(map(brief_value, snrs))} dB"


def _several(count: float, what: str) -> str:
    """A number with what it counts."""
    told = f"{int(count):,}" if count == int(count) else f"{count:g}"
    return f"{told} {what}{'' if count == 1 else 's'}"


def _measured(record: ExperimentRecord, measured: Collection[str]) -> str:
    kinds = [
        _cited("narrow-band PESQ", "rix2001pesq", "itu2003p8621"),
        _cited("wide-band PESQ", "rix2001pesq", "itu2007p8622"),
    ]
    used = [told for told, name in zip(kinds, ("pesq_nb", "pesq_wb"), strict=True)
            if name in measured]  # fmt: skip
    others = []
    if "dnsmos_ovrl" in measured:
        others.append(
            f"Opinions are predicted by {_cited('DNSMOS P.835', 'reddy2022dnsmosp835')} and "
            f"{_cited('P.808', 'reddy2021dnsmos')}, without a reference ({_version('speechmos')})."
        )
    for name, against in (
        ("wer", ""), ("dwer", ", against what it hears in the clean recordings"),
    ):  # fmt: skip
        if name in measured:
            others.append(
                f"The word error rate ({SCORED[name].title}) is that of {record.recogniser} over "
                f"all words of the test set{against}."
            )
    if "si_sdr" not in measured:
        return " ".join(others)
    compared = (
        f"Metrics are {_joined(used)} ({_version('pesq')}), {_cited('STOI', 'taal2011stoi')} and "
        f"{_cited('ESTOI', 'jensen2016estoi')} ({_version('pystoi')}), "
        f"{_cited('SI-SDR', 'leroux2019sdr')} over all frequencies and above 80 Hz (Butterworth "
        "high-pass of fourth order, forwards and backwards), and the composite measures "
        f"{_cited('CSIG, CBAK and COVL', 'hu2008composite')}."
    )
    return " ".join([compared, *others])


def _tested_for_significance(record: ExperimentRecord) -> str:
    pairs = _several(math.comb(len(record.methods), 2), "pair")
    corrected = (
        f"P-values are corrected for {pairs} of methods by Holm's method {_cites('holm1979')}, for "
        "each metric by itself; intervals are of 95 % and not corrected."
    )
    paired = len(record.seeds) > 2
    if len(record.seeds) == 1:
        return (
            "Differences are tested by paired t-tests on the means of speakers, weighted by their "
            f"utterances. {corrected} As each configuration was trained once, differences hold for "
            "these models only."
        )
    return (
        f"In tests and intervals seeds and speakers are crossed random effects "
        f"{_cites('clark1973')}{', trainings with the same seed paired' if paired else ''}; the "
        f"critical value is midway between those of Cochran and Cox "
        f"{_cites('cochran1957')} and of Satterthwaite {_cites('satterthwaite1946')}. {corrected}"
    )


def _cites(key: str) -> str:
    return f"[@{key}]"


def _others(record: ExperimentRecord) -> str:
    """Further differences between the variants; the paragraph describes the first."""
    label, *labels = record.variants
    first = record.variants[label]
    told_of = ("description", *record.sweep)
    paths = [
        path
        for path in dict.fromkeys(
            path
            for other in labels
            for path in differences(first.recipe, record.variants[other].recipe)
        )
        if not any(f"{path}.".startswith(f"{known}.") for known in told_of)
    ]
    if not paths:
        return ""
    more = len(paths) - _MOST_PATHS
    told = _joined([*paths[:_MOST_PATHS], f"{more} other settings"] if more > 0 else paths)
    return (
        f"The settings named are those of {first.short or label}; other configurations differ in "
        f"{told}."
    )


def _software(recipe: dict[str, Any], trained: list[TrainedModel]) -> str:
    used = trained[0].card.software
    library = recipe["training"]["backend"]
    keras = _cited(f"keras {used.get('keras', '')}".strip(), "chollet2015keras")
    return (
        f"The study was run by {_cited(_version('snakemake'), 'molder2021snakemake')}, with "
        f"{keras} on {library} {used.get(library, '')}".rstrip()
        + f" and {_cited(_version('librosa'), 'mcfee2015librosa')}."
    )


def _version(name: str) -> str:
    return installed(name).replace("==", " ")
