"""The whole report as one tree of plain values, ready for the template: cautions, then one section after the other.

A section is a module with its template beside it and a place in SECTIONS. Invariant: nothing here depends on time,
host or place.
"""

from dataclasses import dataclass

from visionfm.figures.section import Section
from visionfm.report.cautions import cautions
from visionfm.report.data import Results
from visionfm.report.sections import (
    answers,
    comparison,
    datasets,
    encoders,
    errors,
    external,
    glossary,
    pretraining,
    seen,
    setup,
    subgroups,
    tasks,
)
from visionfm.report.words import count, listed

SECTIONS = (
    answers,
    comparison,
    external,
    subgroups,
    errors,
    tasks,
    datasets,
    encoders,
    seen,
    pretraining,
    glossary,
    setup,
)


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    title: str
    version: str
    ran: str
    cautions: list[str]
    sections: list[Section]


def page(found: Results) -> Page:
    """Return the report's content."""
    from visionfm import __version__

    return Page(
        title=found.config.title,
        version=__version__,
        ran=_what_ran(found),
        cautions=cautions(found),
        sections=[section for module in SECTIONS for section in module.sections(found)],
    )


def _what_ran(results: Results) -> str:
    images = sum(len(tables.images) for tables in results.datasets)
    parts = [
        count(len(results.config.tasks), "task"),
        count(len({result.model for result in results.results}), "model"),
        count(len(results.encoders), "encoder"),
        count(len(results.datasets), "dataset") + f" with {count(images, 'image')}",
    ]
    return listed(parts)
