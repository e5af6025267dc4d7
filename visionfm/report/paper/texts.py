"""The paper's texts: templates filled with facts, in Markdown; whatever users have named is escaped."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from visionfm.metrics.written import number, percent
from visionfm.report.paper.facts import DatasetFacts, mean_and_std
from visionfm.report.paper.formats import escaped
from visionfm.report.paper.references import References
from visionfm.report.words import SPLITS, count, listed

TEMPLATES = Path(__file__).parent


class Plain(str):
    """Text that is Markdown already."""

    __slots__ = ()


def missing(asked: object) -> Plain:
    """Return a gap that only the authors can fill."""
    return Plain(f"\\[AUTHORS: {escaped(asked)}\\]")


def text(name: str, references: References, **values: Any) -> str:
    """Return a template of this folder as Markdown."""

    def cite(*names: str) -> Plain:
        return Plain(references.cite(*names))

    def cites(prefix: str, words: Iterable[str]) -> Plain:
        """Cite all that the library has of a word that stands in one of `words`."""
        known = {of for entry in references.entries.values() for of in entry["of"] if of.startswith(prefix)}
        used = [of for of in known if any(of.removeprefix(prefix) in word for word in words)]
        return Plain(references.cite(*used) if used else "")

    template = _environment().get_template(name)
    words = {"missing": missing, "count": count, "listed": listed, "percent": percent, "number": number}
    words |= {"settings": settings, "statistics_of": mean_and_std, "division": division}
    return _tidy(template.render(cite=cite, cites=cites, **words, **values))


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, finalize=_shown, trim_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    return value if isinstance(value, Plain) else escaped(value)


def _tidy(filled: str) -> str:
    """Return text with one empty line at most between two paragraphs."""
    lines: list[str] = []
    for line in filled.splitlines():
        line = line.strip()
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip() + "\n"


def said(value: Any) -> str:
    """Return a setting in words."""
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name.replace('_', ' ')} {said(one)}" for name, one in value.items()) + ")"
    if isinstance(value, list):
        return "/".join(map(said, value))
    return "not set" if value is None else "yes" if value is True else "no" if value is False else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """Return the values of a recipe in words."""
    return ", ".join(f"{name.replace('_', ' ')} {said(value)}" for name, value in values.items())


def division(data: DatasetFacts) -> str:
    """Return how a dataset's splits came about, as its block says it."""
    split, columns = data.block.split, data.block.columns
    drawn = (
        f"where none was given for validation, {percent(split.validation)} of the {split.by}s left were drawn for it"
    )
    drawn += f" (seed {split.seed})"
    if split.like is not None:
        return f"People stand in the splits of {split.like}."
    if columns.split is not None:
        return f"Splits were given with the labels; {drawn}."
    if split.test_subjects:
        return f"{count(len(split.test_subjects), 'subject')} were named for testing; {drawn}."
    if split.test is not None:
        evenly = f", spread evenly over {split.stratify}" if split.stratify else ""
        return f"Of {split.by}s without a given split {percent(split.test)} were drawn for testing{evenly}; {drawn}."
    given = (
        "The test split was given with the data" if SPLITS["test"].lower() in data.splits else "Nothing is for testing"
    )
    return f"{given}; {drawn}."
