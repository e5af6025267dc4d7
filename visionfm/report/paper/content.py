"""All files of the paper: name below `paper/` -> bytes."""

from visionfm.report.csv_tables import csv_table
from visionfm.report.data import Results
from visionfm.report.paper import cards, checklists, figures, flow, software, tables, texts
from visionfm.report.paper.evidence import evidence
from visionfm.report.paper.facts import facts
from visionfm.report.paper.formats import latex_document, latex_table, markdown_table
from visionfm.report.paper.references import References
from visionfm.report.sample_sizes import sizes, too_small


def files(results: Results) -> dict[str, bytes]:
    """Return what the stage writes."""
    versions = software.installed()
    references = References(versions)
    known, flows = facts(results, versions), flow.flows(results)
    found: dict[str, str | bytes] = {}
    made = tables.tables(results, flows)
    for name, table in made.items():
        found[f"tables/{name}.csv"] = csv_table(table)
        found[f"tables/{name}.md"] = markdown_table(table)
        found[f"tables/{name}.tex"] = latex_table(table, name)
    found |= figures.files(results, flows)
    methods = texts.text(
        "methods.md.j2",
        references,
        facts=known,
        flows={one.task: one for one in flows},
        small=too_small(results),
        sized=any(sizes(result) for result in results.results),
        decisions=any("_net_benefit" in name for name in found),
    )
    found["methods.md"] = methods
    said = evidence(results, known, flows, list(made))
    for name in checklists.CHECKLISTS:
        found[f"{name}.md"] = checklists.as_markdown(name, checklists.items(name, said, known.study))
    found["model_card.md"] = cards.model_card(results, known, references)
    found |= cards.datasheets(results, known, references)
    found["methods.tex"] = latex_document(methods, list(made))
    found["references.bib"] = references.bib()
    if software.pandoc():
        found["methods.docx"] = software.as_docx(methods, references.bib())
    return {name: text if isinstance(text, bytes) else text.encode() for name, text in found.items()}
