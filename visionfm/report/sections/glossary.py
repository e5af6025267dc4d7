"""The report's glossary: what the numbers mean, the headline metrics first."""

from typing import NamedTuple

from visionfm.figures.section import Section
from visionfm.metrics.catalogue import METRICS, headline_metrics
from visionfm.report.data import Results
from visionfm.report.words import GENERAL


class GlossaryView(NamedTuple):
    """Names and what they say: of the headline metrics, of all that is no metric, of the other metrics."""

    headlines: list[tuple[str, str]]
    general: tuple[tuple[str, str], ...]
    others: list[tuple[str, str]]


def sections(results: Results) -> list[Section]:
    """Return the section."""
    used = {name for result in results.results for name in result.metrics["metric"]}
    known, first = sorted(used & METRICS.keys()), headline_metrics()
    headlines = [METRICS[name][:2] for name in known if name in first]
    others = [METRICS[name][:2] for name in known if name not in first]
    view = GlossaryView(headlines, GENERAL, others)
    return [Section("report/sections/glossary.html.j2", view, "What the numbers mean", "words", folded=True)]
