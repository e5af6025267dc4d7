"""Stage `report`: all results as one self-contained HTML page, all metrics as one table, all figures as one archive.

Reads every artefact that the config implies; writes `index.html`, `summary.md`, `metrics.parquet` and `figures.zip`,
which is unpacked beside the page: the page links to its files.
The page has its figures inside. Few outputs: Snakemake writes the list of all inputs for every one of them.
Invariant: the page loads nothing and runs nothing (its own content policy forbids it); whatever users named is escaped.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm import artifacts
from visionfm.artifacts import archive
from visionfm.artifacts.versions import VERSIONS
from visionfm.metrics.written import NO_VALUE
from visionfm.project.settings import ReportSettings

if TYPE_CHECKING:
    from visionfm.project.plan import Plan
    from visionfm.report.page import Page

SCHEMA, FIGURES_SCHEMA, METRICS_SCHEMA = "visionfm/report/1", "visionfm/figures/1", "visionfm/metrics/1"
SUMMARY_SCHEMA, TASKS_SCHEMA = "visionfm/summary/1", "visionfm/task_pages/1"
LARGEST_PAGE = 8_000_000  # characters; what is larger opens slowly and is too large to mail
TEMPLATE, STYLE_SHEET = "report/templates/page.html.j2", "page.css"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--out", required=True, type=Path, help="index.html")
    parser.add_argument("--summary-out", required=True, type=Path, help="summary.md, what the run prints at its end")
    parser.add_argument("--metrics-out", required=True, type=Path, help="metrics.parquet, the union of all tasks'")
    parser.add_argument(
        "--figures-out", required=True, type=Path, help="figures.zip: each figure (SVG) and table (CSV) of the page"
    )
    parser.add_argument("--tasks-out", required=True, type=Path, help="tasks.zip: of a large page one for each task")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    out = Outputs(args.out, args.summary_out, args.metrics_out, args.figures_out, args.tasks_out)
    report(out, ReportSettings.model_validate_json(args.settings))


class Outputs(NamedTuple):
    """The files of the report; archives are unpacked beside themselves."""

    page: Path
    summary: Path
    metrics: Path
    figures: Path
    tasks: Path

    @classmethod
    def of(cls, plan: "Plan") -> "Outputs":
        """Return where a run has them."""
        return cls(*map(Path, (plan.report, plan.summary, plan.report_metrics, plan.figures, plan.task_pages)))


def report(out: Outputs, settings: ReportSettings) -> None:
    """Write the page, it in a few lines, the union of the metrics, its figures, and of a large page one for each task.

    Paths of the artefacts that are read come from the config and are relative to the working directory. Raises
    ArtifactError when one is missing or damaged.
    """
    from visionfm.project.config import Config
    from visionfm.project.plan import Plan
    from visionfm.report import data as report_data

    for path in (out.figures, out.tasks):
        archive.check_folder(path)
    plan = Plan(Config.model_validate_json(_as_json(settings.config)))
    digests = {path: artifacts.payload_digest(path) for path in report_data.inputs(plan)}
    # The page names the version of every stage, so it depends on them.
    said = {**settings.model_dump(mode="json"), "versions": VERSIONS}
    made_by = artifacts.provenance("report", said, digests)
    if all([artifacts.recall(path, made_by) for path in out]):
        _unpack(out)
        log.info("report: unchanged; open %s", out.page)
        return

    from visionfm.report import summary
    from visionfm.report.page import page, split

    content = page(report_data.load(plan, settings.config))
    text, of_tasks = render(content), {}
    if len(text) > LARGEST_PAGE:
        content, alone = split(content)
        text, of_tasks = render(content), {f"{one.task}.html": render(one) for one in alone}
    artifacts.write_table(out.metrics, report_data.union_of_metrics(plan), made_by, schema=METRICS_SCHEMA)
    for path, schema, files in ((out.figures, FIGURES_SCHEMA, content.files), (out.tasks, TASKS_SCHEMA, of_tasks)):
        with archive.writing(path, made_by, schema=schema) as archived:
            for name in sorted(files):
                archived.add(name, files[name].encode())
    artifacts.write_text(out.summary, summary.text(content), made_by, schema=SUMMARY_SCHEMA)
    artifacts.write_text(out.page, text, made_by, schema=SCHEMA)
    _unpack(out)
    size = sum(map(len, [text, *of_tasks.values()])) / 1e6
    log.info("report: %d figures and tables, %.1f MB; open %s", len(content.files), size, out.page)


def _unpack(out: Outputs) -> None:
    for path in (out.figures, out.tasks):
        archive.unpack(path, path.with_suffix(""))


def _as_json(config: dict[str, Any]) -> str:
    import json

    return json.dumps(config)


def render(content: "Page") -> str:
    """Return the page as HTML; every text in `content` is escaped, only its SVG figures are taken as they are."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here.parent), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    css = Markup((here / "templates" / STYLE_SHEET).read_text())
    return environment.get_template(TEMPLATE).render(page=content, css=css, dash=NO_VALUE)
