"""A panel as it is printed: SVG and PDF at a journal's column width, and the numbers that it draws.

Invariant: no date and nothing of the machine; fonts are in the files (outlines in SVG, TrueType in PDF); the numbers
are read from what was drawn, so that they are those that are seen.
"""

import csv
import io
import re
import warnings
from typing import Any, NamedTuple

import numpy as np

from visionfm.figures.svg import PANEL_WIDTH_IN, STYLE, Panel
from visionfm.figures.tables import harmless

COLUMN_MM = 90.0  # of most journals
SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
HIDDEN = re.compile(r"_(child|nolegend)")  # labels that matplotlib gives by itself
COLUMNS = ("axes", "kind", "series", "point", "x", "y", "text")


class Printed(NamedTuple):
    """A figure's files."""

    svg: bytes
    pdf: bytes
    csv: str


def printed(panel: Panel) -> Printed:
    """Return one panel's files."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width_in = COLUMN_MM / 25.4
    scale = width_in / PANEL_WIDTH_IN
    style = STYLE | {size: STYLE[size] * scale for size in SIZES}
    style |= {"svg.fonttype": "path", "pdf.fonttype": 42}
    svg, pdf = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width_in, panel.height_in * scale), layout="constrained")
        FigureCanvasAgg(figure)
        panel.draw(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        return Printed(svg.getvalue(), pdf.getvalue(), _csv(figure))


def _csv(figure: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    names = _legend(figure)
    for at, axes in enumerate(figure.axes):
        for row in _drawn(axes, names):
            writer.writerow([at, *(harmless(cell) if isinstance(cell, str) else cell for cell in row)])
    return out.getvalue()


def _legend(figure: Any) -> dict[Any, str]:
    """Return how the legends call what looks like this: (colour, dashes) -> text."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    found: dict[Any, str] = {}
    for legend in legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=False):
            found.setdefault(_look(handle), text.get_text().strip())
    return found


def _look(artist: Any) -> Any:
    from matplotlib.colors import to_hex

    getter = getattr(artist, "get_color", None) or artist.get_facecolor
    colour = np.atleast_2d(np.asarray(_rgba(getter())))
    dashes = artist.get_linestyle() if hasattr(artist, "get_marker") else "area"
    return (to_hex(colour[0]) if len(colour) else "", str(dashes))


def _rgba(colour: Any) -> Any:
    from matplotlib.colors import to_rgba_array

    return to_rgba_array(colour)


def _drawn(axes: Any, names: dict[Any, str]) -> Any:
    """Yield kind, series, point, x, y and text of lines, bars, points, areas, pictures and words."""

    def named(artist: Any) -> str:
        own = str(artist.get_label() or "")
        return names.get(_look(artist), "") if not own or HIDDEN.match(own) else own.strip()

    for line in axes.lines:
        xs, ys = np.ravel(line.get_xdata()), np.ravel(line.get_ydata())
        for point, (x, y) in enumerate(zip(xs, ys, strict=True)):
            yield "line", named(line), point, _text(x), _text(y), ""
    for point, patch in enumerate(axes.patches):
        if hasattr(patch, "get_height"):
            yield "bar", named(patch), point, _text(patch.get_x()), _text(patch.get_y()), ""
            far = (patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height())
            yield "bar end", named(patch), point, _text(far[0]), _text(far[1]), ""
    for collection in axes.collections:
        offsets = np.ma.getdata(collection.get_offsets())
        if len(offsets) > 1 or not collection.get_paths():
            for point, (x, y) in enumerate(offsets):
                yield "point", named(collection), point, _text(x), _text(y), ""
            continue
        for path in collection.get_paths():
            for point, (x, y) in enumerate(path.vertices):
                yield "area", named(collection), point, _text(x), _text(y), ""
    for image in axes.images:
        for (row, column), value in np.ndenumerate(np.ma.getdata(image.get_array())):
            yield "cell", "", "", str(column), str(row), _text(value)
    for word in axes.texts:
        if word.get_text().strip():
            x, y = word.get_position()
            yield "text", "", "", _text(x), _text(y), " ".join(word.get_text().split())


def _text(value: Any) -> str:
    """Return a number with six digits, as a reader of CSV expects it."""
    return f"{value:.6g}" if isinstance(value, (int, float, np.floating, np.integer)) else str(value)
