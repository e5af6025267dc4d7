"""The report in a few lines of Markdown, which a run prints at its end: the headline results, and what to doubt.

Invariant: it says nothing that the page does not say; it is made from the same sections.
"""

from collections.abc import Sequence
from textwrap import wrap

from visionfm.report.headlines import Headline
from visionfm.report.page import Page
from visionfm.report.sections.answers import AnswersView

WIDTH = 110
HEAD = ("task", "model", "target", "metric", "value (95 % interval)", "n", "subjects", "tested on")


def text(content: Page) -> str:
    """Return the summary of a page."""
    answers = [section.view for section in content.sections if isinstance(section.view, AnswersView)]
    headlines = [line for view in answers for line in view.headlines]
    parts = [f"# {content.title}", content.ran]
    if headlines:
        parts.append(_table([HEAD, *map(row, headlines)]))
    if content.cautions:
        parts += ["What to doubt:", "\n".join(_bullet(caution) for caution in content.cautions)]
    return "\n\n".join(parts) + "\n"


def row(line: Headline) -> Sequence[str]:
    """Return the cells of a headline; a value without an interval is followed by why there is none."""
    interval = line.interval or line.reason
    value = f"{line.text}{line.unit and ' ' + line.unit}{interval and f' ({interval})'}"
    value = line.reason if line.value is None else value
    return (
        line.task,
        line.model,
        line.target,
        line.name,
        value or line.text,
        f"{line.n:,}",
        f"{line.subjects:,}",
        line.tested_on,
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are padded, so that it reads on a terminal too."""
    written = [[cell.replace("|", "/") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*written, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in written]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _bullet(sentence: str) -> str:
    return "\n  ".join(wrap(f"- {sentence}", WIDTH, break_long_words=False))
