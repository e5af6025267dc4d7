"""What the encoders have seen of the public sets that are tested: a row per encoder, a column per set.

Facts and their sources are those of `data/public.yaml`; images of the config's own datasets are the audit's.
"""

from typing import NamedTuple, get_args

from visionfm.data.findings import TESTED
from visionfm.data.public import Status, registry, verdicts
from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table
from visionfm.report.data import Results

OWN = "no public weights"


class SeenView(NamedTuple):
    """The table, and what each of its words rests on."""

    table: Table
    facts: list[str]


def sections(results: Results) -> list[Section]:
    """Return the section, where some dataset says which public set it is of."""
    config, names = results.config, results.plan
    public: dict[str, str] = {}
    encoders: dict[str, str | None] = {}
    here: dict[str, list[str]] = {}
    used: set[str] = set()
    for task in config.tasks:
        encoders |= names.public_encoders(task)
        used |= set(names.encoders_of(task))
        here |= names.public_pretraining(task)
        public |= {name: of for name in tested(results, task) if (of := config.datasets[name].public) is not None}
    if not public:
        return []
    rows, facts = [], []
    for encoder in [name for name in config.encoders if name in used]:
        cells = []
        for of in public.values():
            found = [one for one in verdicts(encoder, of, encoders, here) if one is not None]
            statuses = [one.status for one in found]
            cells.append(Cell(min(statuses, key=get_args(Status).index, default=OWN)))
            facts += [f"{encoder}: {one.detail}." for one in found]
        whose = _title(encoders[encoder]) if encoder in encoders else ""
        rows.append([Cell(encoder, whose), *cells])
    columns = ["encoder", *(f"{results.title(name)} ({registry().sets[of].title})" for name, of in public.items())]
    view = SeenView(
        Table("Public sets, and what encoders have seen of them", columns, rows), list(dict.fromkeys(facts))
    )
    return [Section("report/sections/seen.html.j2", view, "Have the encoders seen it?", "seen", folded=True)]


def tested(results: Results, task: str) -> list[str]:
    """Return a task's datasets that have test data in it, as the audit counts them."""
    config, names = results.config, results.plan
    whole = {*config.tasks[task].external, *names.folded_datasets(task)}
    split = {one.name: set(one.labels["split"]) for one in results.datasets}
    return [name for name in names.task_datasets(task) if name in whole or not split[name].isdisjoint(TESTED)]


def _title(public: str | None) -> str:
    return "not said whose" if public is None else registry().encoders[public].title
