"""From panels to SVG: one style, one renderer, equal bytes for equal input.

A `Panel` draws itself into a figure; `single` renders it, `inline` makes an SVG safe to stand beside others in one page
(its ids get a prefix and it gets an accessible name), and `drawn` does both.
Invariant: no pyplot, no global state, no date; text stays text, so that it can be searched, and scales with the figure.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from visionfm.figures.tables import slug

PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#555555",
)  # Okabe and Ito, colour-blind-safe
LINES = ("-", "--", ":", "-.")
INK, FAINT, GRID = "#1d2733", "#7a8794", "#dfe4e9"
PANEL_WIDTH_IN, PANEL_HEIGHT_IN, LEGEND_ROW_IN = 4.2, 3.6, 0.19
MAX_NAME = 30
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "visionfm",
    "text.parse_math": False,  # class names may hold $
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Panel:
    """One figure: `draw` fills it, `alt` says in words what is seen, `legend_rows` makes room below."""

    kind: str  # roc, precision_recall, confusion, calibration, net_benefit, selective, agreement, bland_altman, ...
    title: str
    alt: str
    draw: Callable[[Any], None]
    legend_rows: int = 0
    body_in: float = PANEL_HEIGHT_IN  # without the legend

    @property
    def height_in(self) -> float:
        """Return the height in inches."""
        return self.body_in + LEGEND_ROW_IN * self.legend_rows


@dataclass
class Figure:
    """A figure for the page: an SVG element, its caption, the name of its file, and the SVG document in that file."""

    svg: str
    title: str
    file: str
    document: str


def label(text: object, longest: int = MAX_NAME) -> str:
    """Return a name as it can stand in a figure: printable, short, and not mistaken for a hidden matplotlib label."""
    printable = _printable(str(text)).strip()
    shown = printable if len(printable) <= longest else printable[: longest - 3].rstrip() + "..."
    return f" {shown}" if shown.startswith("_") else shown


def _printable(text: str) -> str:
    """Return the text without control characters, which XML cannot hold."""
    return "".join(character if character.isprintable() else " " for character in text)


def colour(index: int) -> dict[str, Any]:
    """Return colour and line style of the index-th of several lines; no two of the first 28 are alike."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": LINES[index // len(PALETTE) % len(LINES)]}


def legend_below(figure: Any, handles: Sequence[Any], texts: Sequence[str]) -> None:
    """Put a legend below the axes of a figure, one entry per row."""
    figure.legend(
        handles,
        [label(text, 70) for text in texts],
        loc="outside lower left",
        ncols=1,
        handlelength=2,
        borderaxespad=0.2,
    )


def single(panel: Panel) -> str:
    """Return one panel as an SVG document."""
    return _render(panel.draw, PANEL_WIDTH_IN, panel.height_in)


def drawn(panel: Panel, place: str) -> Figure:
    """Return a panel for the page; `place` is its alone there: its ids and the name of its file begin with it."""
    document = single(panel)
    return Figure(inline(document, place, panel.alt), panel.title, f"{place}-{slug(panel.title)}", document)


_PATH = re.compile(r'\bd="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is not seen, and half of the bytes


def _render(draw: Callable[[Any], None], width_in: float, height_in: float) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    target = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has the font, text stays text
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        draw(figure)
        canvas.print_svg(target, metadata={"Date": None, "Creator": None})
    return _PATH.sub(lambda path: _DIGITS.sub(r"\1", path[0]), target.getvalue())


# --- into the page --------------------------------------------------------------------------------------------------

_OUTSIDE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_STYLE = re.compile(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", re.DOTALL)
_OPENING = re.compile(r"<svg\b([^>]*)>", re.DOTALL)
_SIZE = re.compile(r'\s(?:width|height|version|xmlns|xmlns:xlink)="[^"]*"')
_ID = re.compile(r'(\sid=")([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]+)')


def inline(svg: str, prefix: str, name: str) -> str:
    """Return an SVG document as an element for HTML: ids prefixed, `name` its accessible name, sized by the page."""
    body = _STYLE.sub("", _METADATA.sub("", _OUTSIDE.sub("", svg)))
    body = body[: body.rindex("</svg>") + len("</svg>")]
    body = _ID.sub(rf'\g<1>{prefix}-\g<2>"', body)
    body = _REFERENCE.sub(rf"\g<1>{prefix}-\g<2>", body).replace("xlink:href=", "href=")
    opening = _OPENING.search(body)
    assert opening is not None
    attributes = _SIZE.sub("", opening.group(1))
    named = f'<svg{attributes} role="img" aria-label="{html.escape(_printable(name), quote=True)}">'
    return body[: opening.start()] + named + body[opening.end() :]
