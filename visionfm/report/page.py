"""The whole report as one tree of plain values, ready for the template: cautions, then one section after the other.

A section is a module with its template beside it and a place in SECTIONS. Invariant: nothing here depends on time,
host or place.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from visionfm.figures.section import Section
from visionfm.figures.svg import Figure
from visionfm.figures.tables import Table, slug
from visionfm.report.cautions import cautions
from visionfm.report.csv_tables import csv_table
from visionfm.report.data import Results
from visionfm.report.sections import (
    answers,
    comparison,
    datasets,
    encoders,
    errors,
    external,
    glossary,
    labels,
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
    labels,
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
    study: str
    version: str
    ran: str
    cautions: list[str]
    sections: list[Section]
    files: dict[str, str]  # its figures and tables, each alone: name -> text
    titles: dict[str, str]  # of tasks and models, by their names in the config
    up: str = ""  # the way from this page to the folder of the first one
    task: str = ""  # of which alone it tells


def split(whole: Page) -> tuple[Page, list[Page]]:
    """Return a large page without what tells of single tasks, and a page for each task."""
    rest: list[Section] = []
    of_task: dict[str, list[Section]] = {section.task: [section] for section in whole.sections if section.task}
    for section in whole.sections:
        if section.by_task:
            for view in section.view:
                of_task[view.task].append(section._replace(view=[view]))
        elif section.task:
            view = {"task": section.task, "page": f"tasks/{section.task}.html"}
            rest.append(section._replace(template="report/sections/elsewhere.html.j2", view=view))
        else:
            rest.append(section)
    alone = [
        replace(whole, title=f"{whole.title}: {whole.titles[task]}", cautions=[], sections=found, up="../", task=task)
        for task, found in of_task.items()
    ]
    return replace(whole, sections=rest), alone


def page(found: Results) -> Page:
    """Return the report's content."""
    from visionfm import __version__

    sections = [section for module in SECTIONS for section in module.sections(found)]
    return Page(
        title=found.config.title,
        study=_study(found),
        version=__version__,
        ran=_what_ran(found),
        cautions=cautions(found),
        sections=sections,
        files=_files(sections),
        titles={name: found.title(name) for name in (*found.config.tasks, *found.config.models)},
    )


def _files(sections: list[Section]) -> dict[str, str]:
    """Return the figures and tables that sections show as files, name -> text; each gets to know its own name."""
    files: dict[str, str] = {}
    for one in _shown(sections):
        stem, suffix = (slug(one.caption), ".csv") if isinstance(one, Table) else (one.file, ".svg")
        same = (f"{stem}-{number}{suffix}" if number > 1 else f"{stem}{suffix}" for number in itertools.count(1))
        one.file = next(name for name in same if name not in files)
        files[one.file] = csv_table(one) if isinstance(one, Table) else one.document
    return files


def _shown(part: Any) -> Iterator[Figure | Table]:
    """Yield each figure and table of a tree of plain values, in its order."""
    if isinstance(part, Figure | Table):
        yield part
    elif is_dataclass(part):
        yield from _shown([getattr(part, field.name) for field in fields(part)])
    elif isinstance(part, dict):
        yield from _shown(list(part.values()))
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _shown(one)


def _study(results: Results) -> str:
    """Return whose study it is, what it is called and when, as far as the config says."""
    study = results.config.study
    if study is None:
        return ""
    return ". ".join(said.rstrip(".") for said in (", ".join(study.authors), study.title, study.dates) if said)


def _what_ran(results: Results) -> str:
    images = sum(len(tables.images) for tables in results.datasets)
    parts = [
        count(len(results.config.tasks), "task"),
        count(len({result.model for result in results.results}), "model"),
        count(len(results.encoders), "encoder"),
        count(len(results.datasets), "dataset") + f" with {count(images, 'image')}",
    ]
    return listed(parts)
