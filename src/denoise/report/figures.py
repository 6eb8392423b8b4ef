"""The figures of the report, each a Matplotlib figure made from tables or audio.

Each metric has a figure of its own, so that a page can lay them out for its width.  What belongs
to one method carries the group ``series-<number>``, by which a page can show and hide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import librosa
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from librosa.display import specshow
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from denoise.core.labels import brief_value, short_paths
from denoise.metrics.registry import SCORED

INK, LINE, PAPER = "#1d2732", "#d5dbe2", "#fffffe"
"""Colours that a page replaces by its own, in SVG."""
_SIZE = (4.4, 3.1)
_MOST_TICKS = 5
"""Below a figure: labels of several digits stay apart."""
_MOST_TYPES = 40
"""Only this many of the most frequent noise types are drawn."""

sns.set_theme(style="whitegrid", context="paper", palette="colorblind")
mpl.rcParams.update(
    {
        "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 9, "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": LINE, "grid.color": LINE,
        "figure.facecolor": PAPER, "axes.facecolor": PAPER,
    }
)  # fmt: skip


class Style(NamedTuple):
    """The style of a method in all figures."""

    number: int
    label: str
    colour: str
    marker: str
    dash: str
    band: float
    """Opacity of its intervals; lower if there are many."""


def styles(methods: Iterable[str], short: Mapping[str, str] | None = None) -> dict[str, Style]:
    """A style for each method, which differs in marker and dashes too, not only in colour.

    `short` has the short names of some of them in figures.
    """
    names = list(methods)
    palette = sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names))
    band = 0.12 if len(names) <= 10 else 0.04
    return {
        name: Style(
            k,
            (short or {}).get(name) or name,
            mpl.colors.to_hex(palette[k]),
            "osD^vPX"[k % 7],
            ("-", "--", "-.")[k % 3],
            band,
        )
        for k, name in enumerate(names)
    }


def title(metric: str) -> str:
    """A metric's name with its unit."""
    about = SCORED[metric]
    return f"{about.title} ({about.unit})" if about.unit else about.title


def _panel(width: float = _SIZE[0], height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def add_legend(figure: Figure) -> bool:
    """Name the methods of a figure below it, for where no page names them.

    The figure becomes as much higher.  One whose lines have no labels, or that has a
    legend, stays as it is, and the result is false.
    """
    handles, names = figure.axes[0].get_legend_handles_labels()
    if not names or figure.legends:
        return False
    width, height = figure.get_size_inches()
    columns = max(1, int(width / (0.085 * max(map(len, names)) + 0.6)))
    rows = -(-len(names) // columns)
    figure.set_size_inches(width, height + 0.2 * rows)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    return True


def metric_by_snr(conditions: pd.DataFrame, metric: str, by_method: dict[str, Style]) -> Figure:
    """Mean of a metric over the input SNR, with 95 % intervals.

    Parameters
    ----------
    conditions
        As `denoise.evaluation.conditions.by_condition` gives them.
    """
    figure, axis = _panel()
    draw_by_snr(axis, conditions, metric, by_method)
    return figure


def draw_by_snr(
    axis: Axes, conditions: pd.DataFrame, metric: str, by_method: dict[str, Style]
) -> None:
    """Like `metric_by_snr`, in a given part of a figure; lines have the labels of the styles."""
    for method, style in by_method.items():
        part = conditions[conditions["method"] == method]
        _line(axis, part["condition"], part["mean"], part["low"], part["high"], style)
    axis.set(xlabel="input SNR (dB)", ylabel=title(metric))
    snrs = sorted(set(conditions["condition"]))
    if len(snrs) <= 8:
        axis.set_xticks(snrs, [brief_value(snr) for snr in snrs])


def _line(
    axis: Axes, x: pd.Series, y: pd.Series, low: pd.Series, high: pd.Series, style: Style
) -> None:
    gid = f"series-{style.number}"
    band = axis.fill_between(x, low, high, color=style.colour, alpha=style.band, linewidth=0)
    (line,) = axis.plot(
        x, y, color=style.colour, marker=style.marker if len(x) <= 12 else None,
        linestyle=style.dash, markersize=4, linewidth=1.4, label=style.label,
    )  # fmt: skip
    band.set_gid(gid)
    line.set_gid(gid)


def intervals(board: pd.DataFrame, metric: str, by_method: dict[str, Style]) -> Figure:
    """Mean and 95 % interval of a metric for every method."""
    figure, axis = _panel(5.0, 0.9 + 0.26 * len(board))
    for place, row in enumerate(board.to_dict("records")):
        style, mean = by_method[row["variant"]], row[metric]
        ends = np.array([[mean - row[f"{metric}_ci_low"]], [row[f"{metric}_ci_high"] - mean]])
        axis.errorbar(
            mean, place, xerr=ends.clip(0), color=style.colour, fmt=style.marker, capsize=3
        )
    axis.set_yticks(range(len(board)), [by_method[name].label for name in board["variant"]])
    axis.set_xlabel(title(metric))
    axis.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))
    axis.invert_yaxis()
    return figure


def trade_off(
    board: pd.DataFrame, metric: str, cost: str, label: str, by_method: dict[str, Style]
) -> Figure:
    """A metric, with its 95 % interval, against what a model costs, on a logarithmic axis."""
    figure, axis = _panel()
    for row in board.to_dict("records"):
        style, mean = by_method[row["variant"]], row[metric]
        ends = np.array([[mean - row[f"{metric}_ci_low"]], [row[f"{metric}_ci_high"] - mean]])
        points = axis.errorbar(
            row[cost], mean, yerr=ends.clip(0), color=style.colour, fmt=style.marker, capsize=2,
            label=style.label,
        )  # fmt: skip
        for artist in points.get_children():
            artist.set_gid(f"series-{style.number}")
    axis.set(xscale="log", xlabel=label, ylabel=title(metric))
    low, high = float(board[cost].min()), float(board[cost].max())
    margin = max(1.3, (high / low) ** 0.06)
    axis.set_xlim(low / margin, high * margin)
    axis.minorticks_off()
    axis.set_xticks(_round_values(low / margin, high * margin))
    axis.xaxis.set_major_formatter("{x:,.0f}" if cost == "parameters" else "{x:g}")
    return figure


def _round_values(low: float, high: float) -> list[float]:
    """At most five round values between two positive ones, evenly spread over their logarithms."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    values: list[float] = []
    for digits in (np.arange(1, 10, 0.5), (1, 2, 3, 4, 6, 8), (1, 2, 5), (1, 3), (1,)):
        values = [float(f"{digit * 10.0**power:.3g}") for power in decades for digit in digits]
        values = [value for value in values if low <= value <= high]
        if len(values) <= 5:
            return values
    return values[:: -(-len(values) // 5)]


def main_effects(effects: pd.DataFrame, metric: str) -> Figure:
    """The effect of each value of the swept settings on a metric, with 95 % intervals."""
    table = effects[effects["metric"] == metric]
    settings = list(dict.fromkeys(table["setting"]))
    figure, axis = _panel(5.0, 0.9 + 0.3 * len(table))
    for place, row in enumerate(table.to_dict("records")):
        ends = [[row["effect"] - row["ci_low"]], [row["ci_high"] - row["effect"]]]
        colour = f"C{settings.index(row['setting'])}"
        axis.errorbar(row["effect"], place, xerr=ends, fmt="o", color=colour, capsize=2)
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_xlabel(f"effect on {title(metric)}")
    axis.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))
    axis.set_ylim(-0.6, len(table) - 0.4)
    names = short_paths(settings)
    labels = [
        f"{names[row.setting]}={row.value}" for row in table[["setting", "value"]].itertuples()
    ]
    axis.set_yticks(range(len(table)), labels)
    axis.invert_yaxis()
    return figure


def learning_curves(histories: pd.DataFrame, by_method: dict[str, Style]) -> dict[str, Figure]:
    """Loss and metrics by epoch, of training and validation; bands span the seeds.

    Values of different losses cannot be compared, so each has figures of its own.

    Parameters
    ----------
    histories
        Columns ``variant``, ``epoch``, ``loss_name``, ``loss``, ``val_loss`` and those of metrics.

    Returns
    -------
    dict[str, Figure]
        By what is drawn, as in "validation huber".
    """
    figures = {}
    for kind, part in histories.groupby("loss_name", sort=False):
        for column, which in (("loss", "training"), ("val_loss", "validation")):
            label = f"{which} loss ({kind})"
            figures[f"{which} {kind}"] = _curves(part, column, label, by_method)
    for column in histories:
        if column.startswith("val_") and column != "val_loss":
            name = column.replace("val_", "validation ").replace("_", " ")
            figures[name] = _curves(histories, column, name, by_method)
    return figures


def _curves(
    histories: pd.DataFrame, column: str, label: str, by_method: dict[str, Style]
) -> Figure:
    figure, axis = _panel()
    for variant, part in histories.dropna(subset=column).groupby("variant", sort=False):
        over = part.groupby("epoch")[column].agg(["mean", "min", "max"])
        epochs = over.index.to_series()
        _line(axis, epochs, over["mean"], over["min"], over["max"], by_method[str(variant)])
    axis.set(xlabel="epoch", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def distributions(
    tables: Mapping[str, pd.DataFrame],
) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """Distributions of SNR, noise type and duration of mixtures.

    Parameters
    ----------
    tables
        Name → a row for each mixture, with ``snr`` in dB, ``noise_type`` and ``seconds``.

    Returns
    -------
    dict[str, tuple[Figure, pd.DataFrame]]
        By what is drawn, with the shares of mixtures in percent; without what no table knows.
    """
    colours = dict(zip(tables, sns.color_palette("colorblind", len(tables)), strict=True))
    found = {}
    for column, label in (("snr", "SNR (dB)"), ("seconds", "duration (s)")):
        values = {name: table[column].to_numpy(float) for name, table in tables.items()}
        values = {name: one[np.isfinite(one)] for name, one in values.items()}
        whole = np.concatenate(list(values.values()))
        if len(whole):
            figure, axis = _panel()
            edges = np.histogram_bin_edges(whole, bins=24)
            shares = pd.DataFrame({"from": edges[:-1], "to": edges[1:]})
            for name, one in values.items():
                shares[name] = 100 * np.histogram(one, edges)[0] / max(1, len(one))
                axis.stairs(
                    shares[name], edges, label=name, color=colours[name], linewidth=1.4, fill=True,
                    alpha=0.35,
                )  # fmt: skip
            axis.set(xlabel=label, ylabel="mixtures (%)")
            figure.legend(loc="outside upper center", ncols=2, frameon=False)
            found[column] = figure, shares
    types = pd.DataFrame(
        {
            name: 100 * table["noise_type"].value_counts(normalize=True)
            for name, table in tables.items()
        }
    ).drop(index="", errors="ignore")
    if len(types):
        types = types.fillna(0).sort_values(list(types), ascending=False)
        whole_table = types.rename_axis("noise_type").reset_index()
        types = types.iloc[:_MOST_TYPES]
        figure, axis = _panel(5.0, 0.9 + 0.22 * len(types))
        height = 0.8 / len(tables)
        for number, name in enumerate(types):
            places = np.arange(len(types)) + height * (number - (len(types.columns) - 1) / 2)
            axis.barh(places, types[name], height, label=name, color=colours[name])
        axis.set_yticks(range(len(types)), types.index)
        axis.set(xlabel="mixtures (%)", ylim=(len(types) - 0.4, -0.6))
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        found["noise_type"] = figure, whole_table
    return found


def signals(waves: dict[str, np.ndarray], rate: int) -> Figure:
    """Waveforms above spectrograms of named signals [shape=(samples,)], on common scales."""
    figure = Figure(figsize=(3.0 * len(waves), 3.2), layout="constrained")
    axes = figure.subplots(2, len(waves), squeeze=False, height_ratios=[1, 2.2], sharex="col")
    peak = max(float(np.abs(wave).max(initial=1e-6)) for wave in waves.values())
    n_fft = int(0.032 * rate)
    hop = max(1, n_fft // 4)
    magnitudes = {
        name: np.abs(librosa.stft(wave, n_fft=n_fft, hop_length=hop))
        for name, wave in waves.items()
    }
    top = max(1e-6, *(float(values.max()) for values in magnitudes.values()))
    for column, (name, wave) in enumerate(waves.items()):
        seconds = len(wave) / rate
        axes[0, column].plot(np.arange(len(wave)) / rate, wave, linewidth=0.3, color="#345")
        axes[0, column].set(title=name, ylim=(-peak, peak), xlim=(0, seconds))
        specshow(
            librosa.amplitude_to_db(magnitudes[name], ref=top, top_db=None), sr=rate,
            n_fft=n_fft, hop_length=hop, x_axis="s", y_axis="linear", cmap="magma", vmin=-80,
            vmax=0, ax=axes[1, column],
        )  # fmt: skip
        axes[1, column].yaxis.set_major_formatter(lambda hertz, _: f"{hertz / 1000:g}")
        axes[1, column].set(xlabel="time (s)", ylabel="frequency (kHz)" if column == 0 else "")
        axes[1, column].grid(False)
    return figure
