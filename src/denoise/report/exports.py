"""Figures and tables of a report as files for papers: SVG, PDF, CSV and LaTeX.

They stand in folders beside the page, and packed in the page itself, so that whoever has only that
can save them too.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from denoise.core import files
from denoise.report import figures

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\N{MINUS SIGN}": "$-$", "…": r"\ldots{}", "±": r"$\pm$", "≥": r"$\geq$", "×": r"$\times$",
    "–": "--", "<": r"\textless{}", ">": r"\textgreater{}", "★": "",
}  # fmt: skip


def latex(text: object) -> str:
    """Plain text for LaTeX.

    >>> print(latex("loss=mse & -5 %"))
    loss=mse \\& $-$5 \\%
    """
    signed = re.sub(r"(?<![\w-])-(?=[\d.])", "\N{MINUS SIGN}", str(text))
    return "".join(_LATEX.get(sign, sign) for sign in signed)


def latex_table(shown: pd.DataFrame, caption: str, label: str) -> str:
    """A table for LaTeX with the packages booktabs and graphicx.

    Columns of numbers stand to the right; a table that is wider than the text is made smaller.

    Parameters
    ----------
    shown
        Texts as they are to stand there, but in plain text; ``**text**`` becomes bold.
    """

    def cell(text: object) -> str:
        bold = re.fullmatch(r"\*\*(.*)\*\*", str(text))
        return rf"\textbf{{{latex(bold[1])}}}" if bold else latex(text)

    columns = "".join("r" if _numeric(shown.iloc[:, k]) else "l" for k in range(shown.shape[1]))
    lines = [
        r"\begin{table}[!htbp]",
        r"\centering",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(latex, shown.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(cell, row)) + r" \\" for row in shown.itertuples(index=False)),
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers, or nothing."""
    texts = [str(text).strip("*") for text in column]
    return all(re.match(r"[-+\N{MINUS SIGN}<>]?\s?[\d.]|–|nan|$", text) for text in texts)


class Exports:
    """Writes figures and tables beside a page, and returns what stands in it.

    Parameters
    ----------
    folder
        Of the page; files go into ``figures``, ``tables`` and ``paper`` in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._packed: dict[str, str] = {}

    def figure(
        self,
        name: str,
        figure: Figure,
        alt: str,
        data: pd.DataFrame | None = None,
        table: tuple[str, pd.DataFrame] | None = None,
    ) -> Markup:
        """An SVG whose texts and lines take the colours of the page, and links to its files.

        The page names the methods once; the saved files have a legend.

        Parameters
        ----------
        data
            What is drawn, for a file of its own.
        table
            The same as a table for LaTeX: its caption, and what is shown as of `latex_table`.
        """
        name = _file_name(name)
        picture = _drawn(name, figure, "svg")
        legend = figures.add_legend(figure)
        content = {
            "svg": _drawn(name, figure, "svg") if legend else picture,
            "pdf": _drawn(name, figure, "pdf"),
        }
        if data is not None:
            content["csv"] = _csv(data)
        if table is not None:
            caption, shown = table
            content["tex"] = latex_table(shown, caption, name).encode()
        links = self._links(f"figures/{name}", content)
        return inline(picture.decode(), alt) + links

    def saved(self, name: str, figure: Figure, data: pd.DataFrame | None = None) -> Markup:
        """Links to the files of a figure that the page itself does not show."""
        self.figure(name, figure, name, data)
        return self._named(f"figures/{_file_name(name)}")

    def png(self, name: str, figure: Figure) -> None:
        """Save a figure that the page does not show, nor holds."""
        path = self.folder / "figures" / f"{_file_name(name)}.png"
        with files.replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=80)

    def table(
        self, name: str, data: pd.DataFrame, caption: str, shown: pd.DataFrame | None = None
    ) -> Markup:
        """Links to the files of a table.

        Parameters
        ----------
        data
            With all digits, for the CSV file.
        shown
            As of `latex_table`; default all of `data`.
        """
        name = _file_name(name)
        text = latex_table(data.map(_plain) if shown is None else shown, caption, name)
        return self._links(f"tables/{name}", {"csv": _csv(data), "tex": text.encode()})

    def text(self, name: str, content: str) -> None:
        """A text in ``paper``."""
        self._links(f"paper/{name}", {"": content.encode()})

    def packed(self) -> Mapping[str, str]:
        """Name → content of every file, compressed by gzip, in base 64."""
        return self._packed

    def _links(self, stem: str, content: Mapping[str, bytes]) -> Markup:
        for kind, written in content.items():
            path = f"{stem}.{kind}" if kind else stem
            files.write_bytes(self.folder / path, written)
            packed = gzip.compress(written, mtime=0)
            self._packed[path] = base64.b64encode(packed).decode("ascii")
        return self._named(stem)

    def _named(self, stem: str) -> Markup:
        titles = {"svg": "SVG", "pdf": "PDF", "csv": "CSV", "tex": "LaTeX"}
        links = [
            f'<a href="{escape(path)}" download>{titles[kind]}</a>'
            for path in self._packed
            for kind in [path.removeprefix(f"{stem}.")]
            if path.startswith(f"{stem}.") and kind in titles
        ]
        return Markup(f'<span class="files">{" ".join(links)}</span>')


def _drawn(name: str, figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    unmarked: dict[str, None] = {"Date": None} if kind == "svg" else {"CreationDate": None}
    # Names within a file that no other file of the page uses.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format=kind, metadata=unmarked)
    return buffer.getvalue()


def _csv(data: pd.DataFrame) -> bytes:
    return data.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)


def inline(svg: str, alt: str) -> Markup:
    """A Matplotlib figure as SVG in the page's colours; `alt` is its text for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'id="series-(\d+)"', r'data-series="\1"', svg)
    # Matplotlib numbers its groups: in a page with many figures these names would be repeated.
    svg = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", svg)
    for colour, own in ((figures.INK, "currentColor"), (figures.LINE, "var(--line)"),
                        (figures.PAPER, "none")):  # fmt: skip
        svg = svg.replace(colour, own)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    label = str(escape(alt))
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
