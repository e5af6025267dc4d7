"""The paper's figures: each in a file of its own as SVG and PDF, and the numbers that it draws as CSV."""

import re
from collections.abc import Iterator

from visionfm.figures.printed import printed
from visionfm.figures.svg import Panel
from visionfm.figures.training import training
from visionfm.report.data import Results
from visionfm.report.paper import flow
from visionfm.report.sections.models import kind_of_report


def files(results: Results, flows: list[flow.Flow]) -> dict[str, bytes | str]:
    """Return the files; `flow.svg` stands beside the texts, all others in `figures/`."""
    found: dict[str, bytes | str] = {}
    taken: dict[str, int] = {}
    for name, panel in panels(results):
        taken[name] = taken.get(name, 0) + 1
        name = f"figures/{name}" + (f"_{taken[name]}" if taken[name] > 1 else "")
        made = printed(panel)
        found |= {f"{name}.svg": made.svg, f"{name}.pdf": made.pdf, f"{name}.csv": made.csv}
    if flows:
        made = printed(flow.panel(flows))
        found |= {"flow.svg": made.svg, "flow.pdf": made.pdf}
    return found


def panels(results: Results) -> Iterator[tuple[str, Panel]]:
    """Yield name and panel of all figures of results and trainings."""
    for result in results.results:
        kind, start = kind_of_report(result.block.kind), f"{result.task}_{result.model}"
        for dataset in result.tested_on():
            for panel in kind.panels(result.of(dataset)):
                yield f"{start}_{dataset}_{panel.kind}", panel
        runs = result.decoders_of(result.runs)
        curves = training({run: result.training[run] for run in runs if run in result.training})
        if curves is not None:
            yield f"{start}_training", curves


def plain(name: str) -> str:
    """Return a name as it can stand in a file's."""
    return re.sub(r"[^a-z0-9_]+", "_", name.lower())
