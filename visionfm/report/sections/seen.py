"""What the encoders have seen of the public sets that are tested: a row per encoder, a column per set.

Facts and their sources are those of `data/public.yaml`; images of the config's own datasets are the audit's.
"""

from typing import NamedTuple

from visionfm.data.public import registry, verdict
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
    used: set[str] = set()
    for task in config.tasks:
        encoders |= names.public_encoders(task)
        used |= set(names.encoders_of(task))
        tested = [(name, config.datasets[name].public) for name in names.task_datasets(task)]
        public |= {name: of for name, of in tested if of is not None}
    if not public:
        return []
    rows, facts = [], []
    for encoder in [name for name in config.encoders if name in used]:
        if encoder not in encoders:
            rows.append([Cell(encoder), *(Cell(OWN) for _ in public)])
            continue
        found = [verdict(encoders[encoder], of) for of in public.values()]
        rows.append([Cell(encoder, _title(encoders[encoder])), *(Cell(one.status) for one in found)])
        facts += [f"{encoder}: {one.detail}." for one in found]
    columns = ["encoder", *(f"{results.title(name)} ({registry().sets[of].title})" for name, of in public.items())]
    view = SeenView(
        Table("Public sets, and what encoders have seen of them", columns, rows), list(dict.fromkeys(facts))
    )
    return [Section("report/sections/seen.html.j2", view, "Have the encoders seen it?", "seen", folded=True)]


def _title(public: str | None) -> str:
    return "not said whose" if public is None else registry().encoders[public].title
