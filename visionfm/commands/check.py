"""`visionfm check CONFIG`: every error of a config and of its label files at once, and what the config would do."""

import argparse
import logging
from pathlib import Path

from visionfm.project.arithmetic import settled
from visionfm.project.data_check import check_data
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("config", nargs="+", type=Path, help="YAML file; several are merged from left to right")
    parser.add_argument("--explain", action="store_true", help="also what would be computed, how long, how large")


def main(args: argparse.Namespace) -> None:
    """Check, and say in a few lines what is planned and what is not there yet."""
    config = load_config(*args.config)
    plan = Plan(settled(config))
    counts = check_data(plan)
    decoders = sum(len(plan.runs(task)) for task, _ in plan.task_models())
    log.info(
        "%s: no errors. %d datasets, %d encoders, %d feature caches, %d tasks, %d decoders.",
        *(", ".join(str(path) for path in args.config), len(config.datasets), len(config.encoders)),
        *(len(plan.extractions()) + len(plan.dense_extractions()), len(config.tasks), decoders),
    )
    for name, dataset in config.datasets.items():
        if not Path(dataset.root).is_dir():
            log.warning("dataset %s: no folder %s (relative to the working directory)", name, dataset.root)
    for name, encoder in config.encoders.items():
        if encoder.weights not in (None, "random") and not Path(str(encoder.weights)).is_file():
            log.warning("encoder %s: no file %s; `visionfm encoders` says who gives it out", name, encoder.weights)
    read = {dataset for task in config.tasks for dataset in plan.task_datasets(task)}
    read |= {dataset for _, dataset in plan.extractions()}
    read |= {dataset for encoder in plan.pretrained() for dataset in plan.pretraining_sets(encoder)}
    if unused := [name for name in config.datasets if name not in read]:
        log.warning("no task uses: %s", ", ".join(unused))
    if args.explain:
        from visionfm.project.explaining import explain

        for line in [*counts, *explain(plan)]:
            print(line)
