"""Stage `paper`: what a paper needs of a run, as one archive, which is unpacked beside it as a folder.

Reads what the report reads. Snakemake plans files, so that the archive is the artefact; `paper/` is for people, and
nothing reads it. Invariant: equal artefacts, config and software give equal bytes; what neither the config nor an
artefact says is a marked gap, never a guess.
"""

import argparse
import json
import logging
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts import archive
from visionfm.artifacts.versions import VERSIONS
from visionfm.project.settings import PaperSettings

SCHEMA = "visionfm/paper/1"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's file."""
    parser.add_argument("--out", required=True, type=Path, help="paper.zip; its files are unpacked beside it")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    paper(args.out, PaperSettings.model_validate_json(args.settings))


def paper(out: Path, settings: PaperSettings) -> None:
    """Write the paper's files to `out`, and unpack them into the folder of its name.

    Paths of the artefacts that are read come from the config and are relative to the working directory. Raises
    ArtifactError when one is missing or damaged, UsageError where the folder holds files of others.
    """
    from visionfm.project.config import Config
    from visionfm.project.plan import Plan
    from visionfm.report import data as report_data
    from visionfm.report.paper import software

    archive.check_folder(out)
    plan = Plan(Config.model_validate_json(json.dumps(settings.config)))
    digests = {path: artifacts.payload_digest(path) for path in report_data.inputs(plan)}
    said = {
        **settings.model_dump(mode="json"),
        "versions": VERSIONS,
        "software": software.installed(),
        "pandoc": software.pandoc(),
    }
    made_by = artifacts.provenance("paper", said, digests)
    if artifacts.recall(out, made_by):
        log.info("paper: unchanged")
    else:
        from visionfm.report.paper.content import files

        found = files(report_data.load(plan, settings.config))
        with archive.writing(out, made_by, schema=SCHEMA) as writer:
            for name in sorted(found):
                writer.add(name, found[name])
        log.info("paper: %d files, %.1f MB", len(found), sum(map(len, found.values())) / 1e6)
    archive.unpack(out, out.with_suffix(""))
    log.info("paper: open %s", out.with_suffix("") / "methods.md")
