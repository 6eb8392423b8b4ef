"""The figures of the report, each a Matplotlib figure made from tables or audio."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from denoise.metrics import SCORED
from denoise.spectrogram import StftSettings, stft

mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "denoise", "font.size": 9})
sns.set_theme(style="whitegrid", context="paper", palette="colorblind")


def title(metric: str) -> str:
    """A metric's name with its unit."""
    about = SCORED[metric]
    return f"{about.title} ({about.unit})" if about.unit else about.title


def methods_palette(methods: list[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each method, the same in every figure."""
    return dict(zip(methods, sns.color_palette("husl", len(methods)), strict=True))


def metric_by_snr(
    scores: pd.DataFrame, metrics: list[str], palette: dict[str, tuple[float, float, float]]
) -> Figure:
    """Mean of each metric over the input SNR, with 95 % intervals."""
    table = scores.copy()
    x, label = "snr_asked", "input SNR (dB)"
    if table[x].nunique() > 12 or table[x].isna().any():
        # A range of SNRs, or mixing by gain: bins of the realised SNR.
        edges = np.arange(-10, 31, 5)
        table = table[np.isfinite(table["snr_in"])]
        table[x] = edges[np.clip(np.digitize(table["snr_in"], edges) - 1, 0, len(edges) - 2)] + 2.5
        label = "input SNR (dB, bins of 5)"
    figure = Figure(figsize=(3.4 * len(metrics), 3.0), layout="constrained")
    for axis, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        sns.lineplot(
            table, x=x, y=metric, hue="method", palette=palette, marker="o", seed=0, n_boot=300,
            ax=axis, legend=axis is figure.axes[0],
        )  # fmt: skip
        axis.set(xlabel=label, ylabel=title(metric))
    _move_legend(figure)
    return figure


def _move_legend(figure: Figure) -> None:
    axis = figure.axes[0]
    handles, labels = axis.get_legend_handles_labels()
    legend = axis.get_legend()
    if legend is not None:
        legend.remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)


def improvement_by_kind(scores: pd.DataFrame, metric: str) -> Figure:
    """A heat map of the mean improvement over the noisy input by noise kind and method."""
    wide = scores.pivot_table(index="id", columns="method", values=metric)
    kinds = scores.groupby("id")["kind"].first().replace("", "unknown")
    gain = wide.drop(columns="noisy").sub(wide["noisy"], axis=0).groupby(kinds).mean()
    figure = Figure(
        figsize=(max(6.0, 2.5 + 0.42 * len(gain)), 1.6 + 0.34 * gain.shape[1]), layout="constrained"
    )
    axis = figure.subplots()
    digits = ".1f" if SCORED[metric].unit else ".2f"
    sns.heatmap(
        gain.T, annot=True, fmt=digits, center=0, cmap="vlag", cbar=False, ax=axis,
        annot_kws={"size": 7},
    )  # fmt: skip
    axis.set(xlabel="", ylabel="", title=f"gain in {title(metric)} over noisy")
    axis.tick_params(axis="x", rotation=45)
    axis.tick_params(axis="y", rotation=0)
    return figure


def intervals(board: pd.DataFrame, metrics: list[str]) -> Figure:
    """Mean and 95 % interval of each metric for every method."""
    figure = Figure(figsize=(3.2 * len(metrics) + 1, 0.9 + 0.28 * len(board)), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axis, metric in zip(axes, metrics, strict=True):
        low, high = (
            board[metric] - board[f"{metric}_ci_low"],
            board[f"{metric}_ci_high"] - board[metric],
        )
        rows = np.arange(len(board))
        axis.errorbar(board[metric], rows, xerr=[low.clip(0), high.clip(0)], fmt="o", capsize=3)
        axis.set(xlabel=title(metric), yticks=rows, yticklabels=board["variant"])
    axes[0].invert_yaxis()
    return figure


def main_effects(effects: pd.DataFrame, metrics: list[str]) -> Figure:
    """The effect of each value of the swept settings on each metric, with 95 % intervals."""
    labels = list(dict.fromkeys(zip(effects["setting"], effects["value"], strict=True)))
    figure = Figure(figsize=(2.6 * len(metrics) + 1.6, 0.9 + 0.3 * len(labels)),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    colours = methods_palette(list(dict.fromkeys(setting for setting, _ in labels)))
    for axis, metric in zip(axes, metrics, strict=True):
        table = effects[effects["metric"] == metric].set_index(["setting", "value"]).loc[labels]
        for place, ((setting, _), row) in enumerate(table.iterrows()):
            ends = [[row["effect"] - row["ci_low"]], [row["ci_high"] - row["effect"]]]
            axis.errorbar(row["effect"], place, xerr=ends, fmt="o", color=colours[setting])
        axis.axvline(0, color="#888", linewidth=0.8)
        axis.set(xlabel=f"effect on {title(metric)}")
        axis.locator_params(axis="x", nbins=4)
        axis.set_ylim(-0.6, len(labels) - 0.4)
        axis.set_yticks(range(len(labels)), [f"{setting}: {value}" for setting, value in labels])
    axes[0].invert_yaxis()
    return figure


def learning_curves(histories: pd.DataFrame) -> Figure:
    """Loss and metrics by epoch, of training and validation; bands span the seeds.

    Values of different losses cannot be compared, so each has a row of its own.

    Parameters
    ----------
    histories
        Columns ``variant``, ``epoch``, ``loss_name``, ``loss``, ``val_loss`` and those of metrics.
    """
    names = list(dict.fromkeys(histories["variant"]))
    palette = methods_palette(names)
    metrics = [name for name in histories if name.startswith("val_") and name != "val_loss"]
    kinds = list(dict.fromkeys(histories["loss_name"]))
    columns = max(2, len(metrics))
    figure = Figure(figsize=(2.85 * columns, 2.9 * (len(kinds) + bool(metrics))),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(len(kinds) + bool(metrics), columns, squeeze=False)
    panels = [
        (axes[row][side], histories[histories["loss_name"] == kind], column, f"{which} {kind}")
        for row, kind in enumerate(kinds)
        for side, (column, which) in enumerate((("loss", "training"), ("val_loss", "validation")))
    ]
    panels += [(axes[-1][k], histories, name, name.replace("val_", "validation ").replace("_", " "))
               for k, name in enumerate(metrics)]  # fmt: skip
    for axis, part, column, label in panels:
        sns.lineplot(
            part, x="epoch", y=column, hue="variant", hue_order=names, palette=palette, ax=axis,
            errorbar=("pi", 100), marker="o", legend=axis is figure.axes[0],
        )  # fmt: skip
        axis.set(xlabel="epoch", ylabel=label)
    used = {id(panel[0]) for panel in panels}
    for axis in figure.axes:
        axis.set_visible(id(axis) in used)
    _move_legend(figure)
    return figure


def signals(waves: dict[str, np.ndarray], rate: int) -> Figure:
    """Waveforms above spectrograms of named signals [shape=(samples,)], on common scales."""
    figure = Figure(figsize=(3.0 * len(waves), 3.2), layout="constrained")
    axes = figure.subplots(2, len(waves), squeeze=False, height_ratios=[1, 2.2], sharex="col")
    peak = max(float(np.abs(wave).max(initial=1e-6)) for wave in waves.values())
    n_fft = int(0.032 * rate)
    settings = StftSettings(n_fft=n_fft, hop=max(1, n_fft // 4))
    levels = {
        name: 20 * np.log10(np.abs(stft(wave[None], settings)[0]) + 1e-7)
        for name, wave in waves.items()
    }
    top = max(float(level.max()) for level in levels.values())
    for column, (name, wave) in enumerate(waves.items()):
        seconds = len(wave) / rate
        axes[0, column].plot(np.arange(len(wave)) / rate, wave, linewidth=0.3, color="#345")
        axes[0, column].set(title=name, ylim=(-peak, peak), xlim=(0, seconds))
        axes[1, column].imshow(
            levels[name], origin="lower", aspect="auto", cmap="magma", vmin=top - 80, vmax=top,
            extent=(0, seconds, 0, rate / 2000),
        )  # fmt: skip
        axes[1, column].set(xlabel="time (s)", ylabel="frequency (kHz)" if column == 0 else "")
        axes[1, column].grid(False)
    return figure
