"""A small project (two modalities, three tasks, a ViT of 32 px) and the means to run it, break it and compare it."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]
SUBJECTS = 24
DRAWN_NS = 1_700_000_000_000_000_000
NOT_COMPARED = ("logs", "benchmarks", ".kept")


@dataclass
class Call:
    """One stage that Snakemake started."""

    stage: str
    arguments: list[str]
    log: str

    @property
    def output(self) -> str:
        return self.arguments[self.arguments.index("--out") + 1]

    @property
    def unchanged(self) -> bool:
        return "unchanged: " in self.log and "encoded " not in self.log


@dataclass
class Project:
    """A folder with data, a config and results."""

    folder: Path
    commands: Path
    versions: str = "{}"
    first_run: tuple[Call, ...] = ()  # the stages of the run that made the results

    @property
    def config(self) -> dict:
        return yaml.safe_load((self.folder / "config.yaml").read_text())

    @config.setter
    def config(self, content: dict) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(content))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PATH": f"{self.commands}:{os.environ['PATH']}", "RAISED_VERSIONS": self.versions}
        command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(self.folder)]
        command += ["--configfile", str(self.folder / "config.yaml"), "--cores", "2", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=1800, check=False
        )

    def run(self, *arguments: str, fails: bool = False) -> list[Call]:
        """Run the workflow; return the stages that were started, in order."""
        done = self.snakemake(*arguments)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return self.calls()

    def calls(self) -> list[Call]:
        """Return the stages that were started since this was asked last, in order."""
        noted = self.folder / "calls.log"
        lines = [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []
        noted.unlink(missing_ok=True)
        return [Call(line[0], line, self._log(line)) for line in lines]

    def _log(self, arguments: list[str]) -> str:
        log = self.folder / arguments[arguments.index("--log") + 1]
        return log.read_text() if log.exists() else ""

    def results(self) -> dict[str, bytes]:
        """Return all artefacts, by path."""
        root = self.folder / "results"
        paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        return {str(path): (root / path).read_bytes() for path in sorted(paths) if path.parts[0] not in NOT_COMPARED}

    def copy(self, folder: Path, with_results: bool = True) -> "Project":
        """Copy the project with all dates and hard links; without results it is what a clean run starts from."""
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True)
        if not with_results:
            shutil.rmtree(folder / "results", ignore_errors=True)
            shutil.rmtree(folder / ".snakemake", ignore_errors=True)
        return Project(folder, self.commands, self.versions, self.first_run)


def assert_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(expected)
    differing = [path for path in expected if found[path] != expected[path]]
    assert not differing, f"differ from a clean run: {differing}"


def without_orphans(found: dict[str, bytes], expected: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what a renamed dataset left behind: nothing in the config refers to it."""
    return {path: content for path, content in found.items() if path in expected}


def draw(path: Path, seed: int, positive: bool) -> None:
    """An eye of 40 x 40 px: a positive one has a bright corner."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (40, 40, 3), dtype=np.uint8)
    pixels[:16, :16] += np.uint8(140 if positive else 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(DRAWN_NS, DRAWN_NS))  # an index holds dates: equal in every copy of the project


def write_dataset(folder: Path, seed: int) -> None:
    """A table dataset: two eyes of each subject, the last subjects are the test split."""
    lines = ["file,patient,eye,split,sick,thickness"]
    for subject in range(SUBJECTS):
        split = "test" if subject >= SUBJECTS - 8 else "train"
        for eye in "RL":
            sick = (subject + (eye == "L")) % 2
            draw(folder / f"img/p{subject:02d}{eye}.png", 1000 * seed + 2 * subject + (eye == "L"), bool(sick))
            lines.append(f"img/p{subject:02d}{eye}.png,p{subject:02d},{eye},{split},{sick},{200 + 50 * sick + subject}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def write_weights(path: Path, seed: int) -> None:
    import timm
    import torch

    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32)
    torch.save({"teacher": {f"backbone.{name}": value for name, value in model.state_dict().items()}}, path)


def write_project(folder: Path) -> None:
    """Write the data, the weights beside the folder, and the config of the project."""
    for seed, name in enumerate("ab"):
        write_dataset(folder / name, seed)
        write_weights(folder.parent / f"{name}.pth", seed)
        # A link: copies of the project share the file, so that its inode and ctime tell of no change.
        (folder / f"{name}.pth").symlink_to(folder.parent / f"{name}.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))


def dataset_block(modality: str, root: str) -> dict:
    columns = {"image": "file", "subject": "patient", "eye": "eye", "split": "split"}
    return {
        "modality": modality,
        "root": root,
        "layout": "table",
        "table": "labels.csv",
        "columns": {**columns, "targets": {"sick": "sick", "thickness": "thickness"}},
        "cohort": "people",
        "split": {"validation": 0.3},
    }


def encoder_block(modality: str, weights: str) -> dict:
    return {"modality": modality, "weights": weights, "image_size": 32, "device": "cpu", "workers": 0}


CONFIG = {
    "encoders": {"fundus": encoder_block("Fundus", "a.pth"), "oct": encoder_block("OCT", "b.pth")},
    "models": {"tiny": {"Fundus": "fundus", "OCT": "oct"}},
    "datasets": {"a": dataset_block("Fundus", "a"), "b": dataset_block("OCT", "b") | {"split": {"like": "a"}}},
    "tasks": {
        "sick_a": {
            "kind": "classification",
            "datasets": ["a"],
            "models": ["tiny"],
            "targets": {"sick": {"type": "binary"}},
            "training": {"epochs": 3},
            "baselines": ["logreg"],
            "train_fraction": [0.5],
        },
        "sick_eye": {
            "kind": "classification",
            "datasets": ["a", "b"],
            "models": ["tiny"],
            "unit": "eye",
            "fusion": "attention",
            "baselines": [],
            "targets": {"sick": {"type": "binary"}},
            "training": {"epochs": 3},
        },
        "thick_b": {
            "kind": "regression",
            "datasets": ["b"],
            "models": ["tiny"],
            "targets": {"thickness": {"type": "value", "unit": "um"}},
            "training": {"epochs": 3},
        },
    },
}
