"""Says whether the outcome of a task of tasks.md is right: `python skill/check.py TASK FOLDER`.

Looks at what was left in the folder, never at how it was made. Each check yields what is wrong.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import visionfm
from visionfm import cli
from visionfm.errors import VisionFMError
from visionfm.project.config import Config
from visionfm.project.loading import load_config
from visionfm.tasks.package import contents


def _config(*names: str) -> Iterator[str] | Config:
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        return iter([f"{missing[0]} is missing"])
    if cli.main(["check", *names]) != 0:
        return iter([f"`visionfm check {' '.join(names)}` finds mistakes"])
    return load_config(*map(Path, names))


def own_table() -> Iterator[str]:
    """A config for a table, with people, and splits drawn by them."""
    config = _config("own.yaml")
    if not isinstance(config, Config):
        yield from config
        return
    block = next(iter(config.datasets.values()))
    if block.columns.subject != "subject":
        yield "the people are not named: columns.subject"
    if block.columns.split is not None or (block.split.test, block.split.validation) != (0.25, 0.2):
        yield "the splits are not drawn as they were asked for"
    if not block.split.stratify:
        yield "the split is not stratified"
    if {name: task.kind for name, task in config.tasks.items()} != {"grade": "ordinal"}:
        yield "the task is not one ordinal task `grade`"


def leak() -> Iterator[str]:
    """A config in which nobody stands in two splits, and nothing was silenced."""
    config = _config("leaky.yaml")
    if not isinstance(config, Config):
        yield from config
        return
    if "any_dr" not in config.tasks:
        yield "task any_dr is not there"
    block = next(iter(config.datasets.values()))
    if block.table is None or "leaky.csv" not in str(block.table):
        yield "the table is another one"
    if block.allow_leakage is not None:
        yield "leakage was allowed, not mended"
    if block.columns.subject is None:
        yield "the people are not named, so that the leak only went unseen"


def folds() -> Iterator[str]:
    """Five folds by people."""
    config = _config("folds.yaml")
    if not isinstance(config, Config):
        yield from config
        return
    split = config.tasks["any_dr"].split if "any_dr" in config.tasks else None
    if split is None or split.folds != 5:
        yield "task any_dr has no five folds"
    if any(block.columns.subject is None for block in config.datasets.values()):
        yield "the people are not named"


def external() -> Iterator[str]:
    """Another hospital's data test, and train nothing."""
    config = _config("clinic.yaml", "external.yaml")
    if not isinstance(config, Config):
        yield from config
        return
    task = config.tasks["any_dr"]
    roots = {name for name, block in config.datasets.items() if Path(block.root).name == "elsewhere"}
    if not roots or not roots <= set(task.external):
        yield "any_dr is not tested on elsewhere/ (`external`)"
    if roots & set(task.datasets):
        yield "the other hospital's images train, too"


def auroc() -> Iterator[str]:
    """The number with its interval and its people."""
    yield from _answer("answer.json", "any_dr", "auroc", ["value", "ci_low", "ci_high", "n", "n_subjects"])


def people() -> Iterator[str]:
    """Images are not people."""
    yield from _answer("people.json", "grade", "quadratic_kappa", ["n", "n_subjects"])


def _answer(name: str, task: str, metric: str, columns: list[str]) -> Iterator[str]:
    if not Path(name).is_file():
        yield f"{name} is missing"
        return
    said, rows = json.loads(Path(name).read_text()), visionfm.read_results("results").metrics
    asked = (rows["task"] == task) & (rows["run"] == "seed0") & (rows["split"] == "test") & (rows["metric"] == metric)
    row = rows[asked].iloc[0]
    for column in columns:
        if not isinstance(said.get(column), int | float) or not abs(said[column] - row[column]) <= 0.0051:
            yield f"{column} is {said.get(column)}, not {row[column]}"


def features() -> Iterator[str]:
    """A row per picture and view, by the encoder of the run."""
    if not Path("features.parquet").is_file():
        yield "features.parquet is missing"
        return
    import numpy as np
    import pandas as pd

    found = pd.read_parquet("features.parquet")
    right = visionfm.embed("photos", "results/encoders/untrained/encoder.safetensors", device="cpu")
    columns = [name for name in right.columns if name.startswith("cls_")]
    if set(found.get("image_id", [])) != set(right["image_id"]):
        yield "the rows are not those of photos/"
    elif not set(columns) <= set(found.columns):
        yield "another encoder's columns"
    else:
        first = [frame.drop_duplicates("image_id").sort_values("image_id")[columns] for frame in (found, right)]
        if not np.allclose(first[0], first[1], atol=1e-2):
            yield "another encoder's features"


def package() -> Iterator[str]:
    """A packaged model that says what it is for, in the user's words."""
    try:
        with contents.opened(Path("any_dr.vfm")) as (said, _):
            if said.task != "any_dr":
                yield f"it is the model of {said.task}"
            if "demonstration on drawn eyes" not in said.intended_use:
                yield "the intended use is not what the user said"
    except VisionFMError as error:
        yield f"no packaged model: {error}"


def answers() -> Iterator[str]:
    """The model's own answers to each picture."""
    if not Path("answers.csv").is_file():
        yield "answers.csv is missing"
        return
    import pandas as pd

    found = pd.read_csv("answers.csv")
    right = visionfm.load_model("any_dr.vfm", device="cpu").predict("photos")
    (target,) = [name for name in right.columns if name == "dr_grade"]
    if target not in found.columns or set(found.get("image", [])) != set(right["image"]):
        yield "the answers are not those of photos/"
        return
    said, wanted = (one.set_index("image")[target].astype(float).round(3) for one in (found, right))
    if not said.sort_index().equals(wanted.sort_index()):
        yield "the answers are not the model's"


def mail() -> Iterator[str]:
    """Only files of the report, as they were written, which name nobody."""
    files = [path for path in Path("mail").rglob("*") if path.is_file()]
    if not files:
        yield "mail/ is empty"
    allowed = {path.read_bytes() for path in Path("results/report").rglob("*") if path.is_file()}
    for path in files:
        if path.read_bytes() not in allowed:
            yield f"{path} is no file of the report"
    block = load_config(Path("clinic.yaml")).report
    if (block.pictures, block.ids) != ("none", "hidden"):
        yield "the report shows pictures or names of patients"


TASKS = {
    check.__name__.replace("_", "-"): check
    for check in (own_table, leak, folds, external, auroc, people, features, package, answers, mail)
}


def wrong(task: str, folder: Path) -> list[str]:
    """Return what is wrong with the outcome of a task in `folder`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return list(TASKS[task]())
    finally:
        os.chdir(before)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in TASKS or not Path(sys.argv[2]).is_dir():
        sys.exit(f"usage: python check.py TASK FOLDER; tasks: {', '.join(TASKS)}")
    found = wrong(sys.argv[1], Path(sys.argv[2]))
    print("\n".join(found) if found else "right")
    sys.exit(bool(found))
