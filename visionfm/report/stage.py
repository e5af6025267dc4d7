"""Stage `report`: all results as one self-contained HTML page, all metrics as one table, all figures as one archive.

Reads every artefact that the config implies; writes `index.html`, `summary.md`, `metrics.parquet` and `figures.zip`.
The page has its figures inside. Few outputs: Snakemake writes the list of all inputs for every one of them.
Invariant: the page loads nothing and runs nothing (its own content policy forbids it); whatever users named is escaped.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.metrics.written import NO_VALUE
from visionfm.project.settings import ReportSettings

if TYPE_CHECKING:
    from visionfm.report.page import Page
    from visionfm.report.sections.tasks import TaskView

SCHEMA, FIGURES_SCHEMA, METRICS_SCHEMA = "visionfm/report/1", "visionfm/figures/1", "visionfm/metrics/1"
SUMMARY_SCHEMA = "visionfm/summary/1"
TEMPLATE, STYLE_SHEET = "report/templates/page.html.j2", "page.css"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--out", required=True, type=Path, help="index.html")
    parser.add_argument("--summary-out", required=True, type=Path, help="summary.md, what the run prints at its end")
    parser.add_argument("--metrics-out", required=True, type=Path, help="metrics.parquet, the union of all tasks'")
    parser.add_argument("--figures-out", required=True, type=Path, help="figures.zip, an SVG per task and model")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    report(
        args.out,
        args.summary_out,
        args.metrics_out,
        args.figures_out,
        ReportSettings.model_validate_json(args.settings),
    )


def report(out: Path, summary_out: Path, metrics_out: Path, figures_out: Path, settings: ReportSettings) -> None:
    """Write the page to `out`, it in a few lines to `summary_out`, the union of the metrics, and the figures.

    Paths of the artefacts that are read come from the config and are relative to the working directory. Raises
    ArtifactError when one is missing or damaged.
    """
    from visionfm.project.config import Config
    from visionfm.project.plan import Plan
    from visionfm.report import data as report_data

    plan = Plan(Config.model_validate_json(_as_json(settings.config)))
    digests = {path: artifacts.payload_digest(path) for path in report_data.inputs(plan)}
    # The page names the version of every stage, so it depends on them.
    said = {**settings.model_dump(mode="json"), "versions": VERSIONS}
    made_by = artifacts.provenance("report", said, digests)
    if all([artifacts.recall(path, made_by) for path in [out, summary_out, metrics_out, figures_out]]):
        log.info("report: unchanged; open %s", out)
        return

    from visionfm.artifacts import archive
    from visionfm.report import summary
    from visionfm.report.page import page

    content = page(report_data.load(plan, settings.config))
    artifacts.write_table(metrics_out, report_data.union_of_metrics(plan), made_by, schema=METRICS_SCHEMA)
    models = [(task.name, model) for task in _tasks(content) for model in task.models]
    with archive.writing(figures_out, made_by, schema=FIGURES_SCHEMA) as figures:
        for task, model in models:
            figures.add(f"{task}.{model.model}.svg", model.grid.encode())
    artifacts.write_text(summary_out, summary.text(content), made_by, schema=SUMMARY_SCHEMA)
    text = render(content)
    artifacts.write_text(out, text, made_by, schema=SCHEMA)
    log.info(
        "report: %d models, %d figures, %.1f MB; open %s",
        len(models),
        sum(len(part.figures) for _, model in models for part in model.parts),
        len(text) / 1e6,
        out,
    )


def _as_json(config: dict[str, Any]) -> str:
    import json

    return json.dumps(config)


def _tasks(content: "Page") -> "list[TaskView]":
    from visionfm.report.sections.tasks import TaskView

    return [section.view for section in content.sections if isinstance(section.view, TaskView)]


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
