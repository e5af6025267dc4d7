"""The command line: one subcommand per stage, and a few beside them. A stage is imported only when it is called.

Exit codes: 0 done, 2 usage or config, 3 data, 4 damaged artefact, 75 stopped by a signal with its progress saved.
"""

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from visionfm.errors import Stopped, UsageError, VisionFMError
from visionfm.runtime.interruption import keep_warnings, time_is_up
from visionfm.runtime.scheduler import requeue_own_job, watch_time_limit
from visionfm.runtime.waiting import wait_asleep

# What a person calls, in the order of their work.
COMMANDS = {
    "start": {
        "init": ("visionfm.commands.init", "say what a folder of images seems to be, and write a config for it"),
        "check": ("visionfm.commands.check", "check a config and its label files: every error at once"),
        "encoders": (
            "visionfm.commands.encoders",
            "list the layouts of weights that can be used, and where to get them",
        ),
        "doctor": ("visionfm.commands.doctor", "what this machine can do"),
        "example": ("visionfm.commands.example", "list configs to begin with, or write one here"),
        "synth": ("visionfm.synthetic", "draw synthetic eyes in the published layouts"),
    },
    "run": {
        "run": ("visionfm.commands.run", "run the pipeline on a config: `visionfm run my.yaml`"),
        "profile": ("visionfm.commands.profile", "write a profile here, to be edited: slurm, workstation"),
    },
    "look": {
        "cost": ("visionfm.commands.cost", "what the jobs of a run took: a table, and a page"),
        "du": ("visionfm.commands.du", "what of a run takes the disk"),
        "verify": ("visionfm.commands.verify", "check artefacts against their checksums"),
    },
    "mend": {
        "unlock": ("visionfm.commands.unlock", "clear the lock that a killed run left behind"),
        "gc": ("visionfm.commands.gc", "free the artefacts that no config names"),
        "forget": ("visionfm.commands.forget", "drop an artefact and its kept copy, so that it is computed again"),
    },
    "use without the pipeline": {
        "embed": ("visionfm.features.embed", "features of a folder of images, without a config"),
        "package": ("visionfm.tasks.package.making", "a trained model as one file, for `predict --model` and `serve`"),
        "serve": ("visionfm.commands.serve", "a page on this machine that answers for a packaged model"),
        "handover": ("visionfm.tasks.handover", "write a k-NN decoder that holds its training samples' features"),
        "publish": ("visionfm.pretraining.publishing", "write a checkpoint of pretraining in the published naming"),
    },
}
# Stages take their slice of the config as JSON, so that a queued job does not depend on a config edited meanwhile.
STAGES = {
    "index": ("visionfm.data.index", "read a dataset's images once"),
    "label": ("visionfm.data.labels", "join labels, subjects and splits to the images"),
    "audit": ("visionfm.data.audit", "find leakage between a task's splits"),
    "checksum": ("visionfm.encoders.checksum", "identify a weights file"),
    "pack": ("visionfm.pretraining.packs", "write a dataset's images, pre-shrunk, into few large files"),
    "pretrain": ("visionfm.pretraining.pretrain", "train an encoder from images alone"),
    "measure": ("visionfm.pretraining.measure", "mean and standard deviation of an encoder's images"),
    "import": ("visionfm.encoders.importing", "turn a checkpoint of any dialect into an encoder"),
    "extract": ("visionfm.features.extract", "encode each image once into a feature cache"),
    "dense": ("visionfm.features.tokens", "encode each image once into a cache of patch tokens"),
    "fuse": ("visionfm.tasks.fuse", "join labelled images into a task's samples"),
    "train": ("visionfm.tasks.train", "train a decoder on cached features"),
    "finetune": ("visionfm.tasks.finetune", "train an encoder and a decoder on images"),
    "calibrate": ("visionfm.tasks.calibrate", "fit a decoder's probabilities to validation data"),
    "predict": ("visionfm.tasks.predict", "apply a decoder"),
    "locate": ("visionfm.tasks.locate", "map the features, and find the nearest training samples"),
    "suspect": ("visionfm.tasks.suspect", "rank the labels that look wrong"),
    "evaluate": ("visionfm.tasks.evaluate", "metrics with intervals"),
    "compare": ("visionfm.tasks.compare", "differences between models, and their tests"),
    "contrast": ("visionfm.tasks.contrast", "differences between groups and datasets, and their tests"),
    "recalibrate": ("visionfm.tasks.recalibrate", "what few local cases give at external sites"),
    "report": ("visionfm.report.stage", "one page with all of it"),
    "paper": ("visionfm.report.paper.stage", "what a paper needs: methods, tables, figures, checklists, references"),
    "export": ("visionfm.features.export", "write cached features as flat Parquet"),
}
LAUNCHER = {
    "launch": ("visionfm.commands.launch", "start a stage on several GPUs or nodes (the workflow does)"),
}
# `predict` also scores any images with any decoder, which needs no slice of a config.
OPTIONAL_SETTINGS = {"predict"}
GROUPS = {**COMMANDS, "stages: the workflow starts them, and each runs by itself, too": {**STAGES, **LAUNCHER}}
KNOWN = {name: found for group in GROUPS.values() for name, found in group.items()}
# Files are their whole input: these stages have no settings.
WITHOUT_SETTINGS = {"checksum", "export"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return its exit code."""
    wait_asleep()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(arguments[0] if arguments else "")
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help()
        return 2
    if "SLURM_JOB_ID" in os.environ:
        keep_warnings()
    try:
        _start_log(getattr(args, "log", None))
        if args.command in STAGES:
            watch_time_limit()
        if getattr(args, "settings", None) is not None:
            args.settings = _text(args.settings)
        _check_outputs(args)
        _load(args.command).main(args)
    except VisionFMError as error:
        logging.getLogger("visionfm").error("error: %s", error)
        if isinstance(error, Stopped) and time_is_up():
            requeue_own_job()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser(chosen: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visionfm",
        usage="visionfm COMMAND [OPTIONS]",
        description="Vision foundation models for ophthalmology: from images to a report.",
        epilog=_listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS)
    for name, (_, help_text) in KNOWN.items():
        command = commands.add_parser(name, prog=f"visionfm {name}", description=help_text)
        if name != chosen:
            continue
        if name in STAGES and name not in WITHOUT_SETTINGS:
            needed = name not in OPTIONAL_SETTINGS
            command.add_argument("--settings", required=needed, help="the stage's slice of the config: JSON, or @FILE")
        command.add_argument("--log", type=Path, help="also write the log to this file")
        _load(name).add_arguments(command)
    if chosen == "--version":
        from visionfm import __version__

        print(f"visionfm {__version__}")
        raise SystemExit(0)
    if chosen and chosen not in KNOWN and not chosen.startswith("-"):
        from visionfm.config.nearest import nearest

        near = nearest(chosen, KNOWN)
        hint = f"did you mean {near!r}? " if near else ""
        parser.error(f"there is no command {chosen!r}; {hint}`visionfm --help` lists all")
    return parser


def _listing() -> str:
    """Return all commands by what they are for."""
    lines = []
    for heading, group in GROUPS.items():
        lines += [f"{heading}:", *(f"  {name:<12}{text}" for name, (_, text) in group.items()), ""]
    return "\n".join([*lines, "`visionfm COMMAND --help` shows a command's options."])


def _load(name: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(KNOWN[name][0])


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse devices and FIFOs as outputs before the work begins."""
    from visionfm.artifacts.files import check_target

    for name, value in vars(args).items():
        if isinstance(value, Path) and (name == "out" or name.endswith("_out")):
            check_target(value)


def _text(settings: str) -> str:
    if not settings.startswith("@"):
        return settings
    path = Path(settings[1:])
    if not path.is_file():
        raise UsageError("the settings file is missing", where=path, do="give JSON, or @ and a file that holds it")
    return path.read_text(encoding="utf-8")


class _LogFile(logging.FileHandler):
    """A log that a full disk ends with one sentence; the stage's own error says what it could not write."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Say it once, where logging would print a traceback for every line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.told:
            self.told = True
            print(f"the log {self.baseFilename} ends here: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        """Close it; lines that never reached the disk were told of."""
        with contextlib.suppress(OSError):
            super().close()


def _start_log(path: Path | None) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[logging.StreamHandler()], force=True)
    logging.getLogger("visionfm").setLevel(logging.INFO)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, mode="w", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "the log cannot be written", found=error.strerror, where=path, do="name another --log file"
        ) from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
