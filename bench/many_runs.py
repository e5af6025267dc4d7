"""Seven runs of one task and model on cached features: a process for each, and one process for all; CPU seconds.

`python -m bench.many_runs [IMAGES]`. Exits with an error where a file of the one process differs from the same run's
alone. The stages are called one after another as they are: nothing is shared but what the process has loaded.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.training import EPOCHS, TARGETS, fabricate
from visionfm.config.recipe import read_recipe
from visionfm.tasks.settings import PredictSettings, TrainSettings
from visionfm.tasks.vectors.recipe import SOUND, Recipe

RUNS = {f"seed{n}": {"seed": n} for n in range(5)} | {name: {"baseline": name} for name in ("logreg", "knn")}
FILES = ("decoder.safetensors", "training.parquet", "predictions.parquet")
IN_TURN = """
import json, sys
from visionfm.cli import main
for words in json.load(sys.stdin):
    if code := main(words):
        sys.exit(code)
"""


def commands(data: Path, out: Path, run: str) -> dict[str, list[str]]:
    """Return the command lines of a run's stages; they write into a folder of its own."""
    folder = out / run
    folder.mkdir(parents=True)
    recipe = read_recipe(Recipe, SOUND).model_copy(update={"epochs": EPOCHS})
    same = {"kind": "classification", "targets": TARGETS, "modalities": ["Fundus"]}
    train = TrainSettings(**same, recipe_name="sound", recipe=recipe, **RUNS[run]).model_dump_json()
    predict = PredictSettings(**same, task="t", model="m", run=run).model_dump_json()
    features = ["--features", f"d={data / 'd.cls224.h5'}"]
    decoder, training, predictions = (str(folder / name) for name in FILES)
    fit = ["train", "--train", str(data / "train.parquet"), *features, "--out", decoder, "--training-out", training]
    apply = ["predict", "--decoder", decoder, "--samples", str(data / "samples.parquet"), *features]
    return {"train": [*fit, "--settings", train], "predict": [*apply, "--out", predictions, "--settings", predict]}


def in_one_process(words: list[list[str]]) -> float:
    """Run these stages one after another in a new process; return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", IN_TURN], input=json.dumps(words), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(
        f"stage of {len(RUNS)} runs, {images} images | a process each | one process | the same, unchanged", flush=True
    )
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        fabricate(data, images)
        alone, together = ({run: commands(data, data / way, run) for run in RUNS} for way in ("alone", "together"))
        for stage in ("train", "predict"):
            each = sum(in_one_process([alone[run][stage]]) for run in RUNS)
            words = [together[run][stage] for run in RUNS]
            print(f"{stage} | {each:.1f} s | {in_one_process(words):.1f} s | {in_one_process(words):.1f} s", flush=True)
        for run in RUNS:
            for file in FILES:
                if (data / "alone" / run / file).read_bytes() != (data / "together" / run / file).read_bytes():
                    sys.exit(f"{run}/{file} differs where other runs came before it in its process")
    print(f"all {len(RUNS) * len(FILES)} files are equal, byte for byte")


if __name__ == "__main__":
    main()
