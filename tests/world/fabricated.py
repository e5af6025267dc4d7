"""A fabricated run: three datasets, two encoders and three tasks, without any training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.tasks.runs import read_run

NASTY = "<script>alert('x')</script> $a_1 & \"b\""
DISEASES = ["diabetic retinopathy", "glaucoma", NASTY, "never seen"]
GRADES = ["no DR", "mild", "moderate", "severe", "proliferative"]
PUBLIC = {"name": "any.pth", "sha256": "ab" * 32, "dialect": "visionfm", "key": "teacher", "licence": "CC BY-NC 4.0"}
RANDOM = {"name": "random", "sha256": None, "dialect": "random", "key": None, "licence": "none"}


def config_of_run() -> dict[str, Any]:
    """Return the config of the fabricated run: multilabel fused, multiclass with two models and seeds, regression."""
    table = {"layout": "table", "table": "labels.csv", "columns": {"image": "image"}}
    values = {"thickness": {"type": "value", "unit": "\u00b5m"}, "age": {"type": "value", "unit": "years"}}
    return {
        "title": f"Three datasets {NASTY}",
        "report": {"pictures": "examples", "ids": "shown"},
        "encoders": {
            "any_vit": {"modality": "any", "weights": "weights/any.pth"},
            "untrained": {"modality": "any", "weights": "random", "arch": "vit_tiny_patch16_224"},
        },
        "models": {"visionfm": {"any": "any_vit"}, "floor": {"any": "untrained"}},
        "datasets": {
            "fundus": {
                "modality": "Fundus",
                "root": "data/fundus",
                "bad_images": "skip",
                "allow_leakage": "the twins <b>are</b> one eye, checked",
                **table,
            },
            "ffa": {"modality": "FFA", "root": "data/ffa", **table},
            "oct": {"modality": "OCT", "root": "data/oct", **table},
        },
        "tasks": {
            "diseases": {
                "kind": "classification",
                "datasets": ["fundus", "ffa", "oct"],
                "models": ["visionfm"],
                "unit": "subject",
                "fusion": "attention",
                "targets": {"disease": {"type": "multilabel", "classes": DISEASES}},
                "baselines": [],
            },
            "grading": {
                "kind": "classification",
                "datasets": ["fundus"],
                "models": ["visionfm", "floor"],
                "seeds": [0, 1],
                "train_fraction": [0.1, 0.5, 1],
                "targets": {"grade": {"type": "multiclass", "classes": GRADES, "ordered": True}},
            },
            "measures": {"kind": "regression", "datasets": ["oct"], "models": ["visionfm"], "targets": values},
        },
    }


class Fabricated:
    """Writes the artefacts below the working directory; `images` are the picture files of each dataset."""

    def __init__(self, images: dict[str, list[str]], samples: int = 150) -> None:
        self.config = config_of_run()
        self.plan = Plan(Config.model_validate_json(json.dumps(self.config)))
        self.rng = np.random.default_rng(0)
        self.samples = samples
        self.samples_of: dict[str, list[dict[str, Any]]] = {}  # the models of a task are tested on the same ones
        self.rows = {
            name: [(path, _digest(Path("data", name, path))) for path in sorted(paths)]
            for name, paths in images.items()
        }

    def write(self) -> "Fabricated":
        """Write all artefacts."""
        for name in self.rows:
            self._dataset(name)
        for name, source in (("any_vit", PUBLIC), ("untrained", RANDOM)):
            self._encoder(name, source)
        for task in self.config["tasks"]:
            self._audit(task)
        for task, model in self.plan.task_models():
            self.task_model(task, model)
        for task in self.config["tasks"]:
            self.compare(task)
            self.locate(task)
            self.suspect(task)
        return self

    def _dataset(self, name: str) -> None:
        rows = self.rows[name]
        count = len(rows)
        table = {
            "path": [path for path, _ in rows] + (["broken.jpg"] if name == "fundus" else []),
            "image_id": [digest for _, digest in rows] + ([""] if name == "fundus" else []),
            "status": ["ok"] * count + (["truncated"] if name == "fundus" else []),
        }
        total = len(table["path"])
        table |= {"modality": [self.plan.modality(name)] * total, "mode": ["RGB"] * total}
        table |= {key: [64] * total for key in ("width", "height", "frames", "bytes", "mtime_ns")}
        artifacts.write_table(
            self.plan.images(name)[0], pa.table(table), self._by("index", name), schema="visionfm/images/1"
        )
        subject = [
            f"{name}/{path}" if name == "oct" else f"clinic/p{index // 2}" for index, (path, _) in enumerate(rows)
        ]
        labels: dict[str, Any] = {
            "path": [path for path, _ in rows],
            "image_id": [digest for _, digest in rows],
            "subject_id": subject,
            "group_id": subject,
            "copy_id": [digest for _, digest in rows],
        }
        labels |= {"eye": [None] * count, "visit": [None] * count}
        labels["split"] = [("train", "train", "validation", "test", "test")[index % 5] for index in range(count)]
        if name == "oct":
            labels |= {"thickness": self.rng.normal(280, 40, count), "age": self.rng.normal(60, 9, count)}
        else:
            labels |= {disease: (self.rng.random(count) < 0.3).astype(float) for disease in DISEASES[:3]}
            labels[DISEASES[3]] = np.zeros(count)
            labels["grade"] = [None if index % 9 == 8 else float(index % 5) for index in range(count)]
        eye_and_visit = pa.array([None] * count, pa.string())
        table = pa.table(
            {key: eye_and_visit if key in ("eye", "visit") else pa.array(values) for key, values in labels.items()}
        )
        artifacts.write_table(self.plan.labels(name), table, self._by("label", name), schema="visionfm/labels/1")

    def _by(self, stage: str, name: str) -> artifacts.Provenance:
        return artifacts.provenance(stage, {"name": name}, {})

    def _encoder(self, name: str, source: dict[str, Any]) -> None:
        extra = {
            "arch": "vit_tiny_patch16_224",
            "image_size": "224",
            "patch": "16",
            "modality": "any",
            "interpolation": "bilinear",
        }
        extra |= {"mean": "[0.485, 0.456, 0.406]", "std": "[0.229, 0.224, 0.225]", "source": json.dumps(source)}
        extra |= {"renamed": json.dumps({"a": "b"}), "dropped": json.dumps({"head.weight": "a head"})}
        tensors = {"norm.weight": np.ones(3, np.float32)}
        artifacts.write_tensors(
            self.plan.encoder(name), tensors, self._by("import", name), schema="visionfm/encoder/1", extra=extra
        )

    def _audit(self, task: str) -> None:
        columns = (
            "check",
            "severity",
            "dataset",
            "path",
            "split",
            "other_dataset",
            "other_path",
            "other_split",
            "detail",
            "reason",
        )
        rows = []
        if task == "grading":
            rows = [
                (
                    "subject",
                    "allowed",
                    "fundus",
                    "a.png",
                    "train",
                    "fundus",
                    "b.png",
                    "test",
                    "subject clinic/p1",
                    "the twins <b>are</b> one eye, checked",
                ),
                (
                    "contradiction",
                    "note",
                    "fundus",
                    "a.png",
                    "train",
                    "fundus",
                    "c.png",
                    "train",
                    "identical images, different labels: grade 1.0 and 2.0",
                    None,
                ),
                ("few_in_common", "note", "fundus", "", None, "oct", None, None, "2 of 9 people are in both", None),
                ("unreadable", "note", "fundus", "broken.jpg", None, None, None, None, "truncated", None),
            ]
        table = pa.Table.from_pylist(
            [dict(zip(columns, row, strict=True)) for row in rows], pa.schema([(c, pa.string()) for c in columns])
        )
        artifacts.write_table(self.plan.audit(task), table, self._by("audit", task), schema="visionfm/audit/1")

    # --- a task and model -------------------------------------------------------------------------------------------

    def task_model(self, task: str, model: str) -> None:
        """Write samples, predictions, training and metrics."""
        targets = {name: target.model_dump() for name, target in self.plan.tasks.targets(task).items()}
        samples = self.samples_of.setdefault(task, self._samples(task, targets))
        by = artifacts.provenance("fuse", {"task": task, "model": model}, {})
        artifacts.write_table(
            self.plan.samples(task, model), pa.Table.from_pylist(samples), by, schema="visionfm/samples/1"
        )
        subsets = (
            ["all", "Fundus", "FFA", "Fundus+OCT"]
            if self.config["tasks"][task].get("fusion") == "attention"
            else ["all"]
        )
        for run in self.plan.runs(task):
            rows = [
                row
                for sample in samples
                if sample["split"] != "train"
                for subset in subsets
                for row in self._answers(sample, targets, subset, run, skill=0.3 if model == "floor" else 1.6)
            ]
            by = artifacts.provenance("predict", {"task": task, "model": model, "run": run}, {})
            artifacts.write_table(
                self.plan.predictions(task, model, run), pa.Table.from_pylist(rows), by, schema="visionfm/predictions/1"
            )
            epochs = np.arange(1, 31)
            validation = np.exp(-epochs / 8) + 0.004 * epochs + self.rng.normal(0, 0.01, 30)
            curves = {
                "epoch": epochs,
                "train_loss": np.exp(-epochs / 7),
                "validation_loss": validation,
                "best": epochs == 26,
            }
            about = read_run(run)
            if about.baseline:
                tried = {"target": ["grade"] * 2, "class": [None] * 2, "parameter": ["C"] * 2, "value": [0.1, 1.0]}
                curves = {**tried, "validation_loss": [0.7, 0.6], "best": [False, True]}
            rows = len(curves["best"])
            n_train = int(60 * (about.train_fraction or 1))
            curves = pa.table({**curves, "n_train": [n_train] * rows, "n_train_subjects": [n_train // 2] * rows})
            by = artifacts.provenance("train", {"task": task, "model": model, "run": run}, {})
            artifacts.write_table(self.plan.training(task, model, run), curves, by, schema="visionfm/training/1")
        self.evaluate(task, model)

    def _samples(self, task: str, targets: dict[str, Any]) -> list[dict[str, Any]]:
        datasets = self.plan.task_datasets(task)
        samples: list[dict[str, Any]] = []
        for i in range(self.samples):
            sample: dict[str, Any] = {"sample_id": f"s{i}", "subject_id": f"p{i // 2}", "eye": None, "visit": None}
            split = ("train", "train", "validation", "test", "test")[i // 2 % 5]
            dataset = datasets[i % len(datasets)]
            path, digest = self.rows[dataset][i // len(datasets) % len(self.rows[dataset])]
            image = {"modality": self.plan.modality(dataset), "dataset": dataset, "path": path, "image_id": digest}
            samples.append(sample | {"dataset": dataset, "split": split, "images": [image]})
        for name, target in targets.items():
            for sample in samples:
                sample[name] = self._truth(target)
        return samples

    def evaluate(self, task: str, model: str) -> None:
        """Run the stage on the predictions."""
        from visionfm.tasks.evaluate import evaluate

        paths = [Path(self.plan.predictions(task, model, run)) for run in self.plan.runs(task)]
        settings = self.plan.tasks.evaluate_settings(task, model)
        evaluate(paths, Path(self.plan.metrics(task, model)), settings)

    def compare(self, task: str) -> None:
        """Run the stage on the predictions of all models, where there is anything to compare."""
        from visionfm.artifacts.arguments import by_name
        from visionfm.tasks.compare import compare

        for out in self.plan.comparison(task):
            files = by_name([f"{model}={path}" for model, path in self.plan.compared(task)], "MODEL")
            compare(files, Path(out), self.plan.tasks.compare_settings(task))

    def locate(self, task: str) -> None:
        """Write places on the map, and of all samples the first three training samples as neighbours."""
        for path in self.plan.locations(task).values():
            samples = self.samples_of[task]
            trained = [sample["sample_id"] for sample in samples if sample["split"] == "train"][:3]
            rows = [
                {key: sample[key] for key in ("sample_id", "subject_id", "dataset", "split")}
                | {"x": float(at % 7), "y": float(at % 11)}
                | {"neighbours": trained, "distances": [0.5, 0.75, 1.0]}
                for at, sample in enumerate(samples)
            ]
            extra = {"variance_shares": "[0.4, 0.1]"}
            table = pa.Table.from_pylist(rows)
            artifacts.write_table(path, table, self._by("locate", task), schema="visionfm/locations/1", extra=extra)

    def suspect(self, task: str) -> None:
        """Run the stage on samples and places."""
        from visionfm.tasks.suspect import suspect

        for out in self.plan.suspects(task):
            samples, locations = self.plan.judged(task)
            settings = self.plan.tasks.suspect_settings(task).model_copy(update={"draws": 3})
            suspect(Path(samples), Path(locations), Path(self.plan.audit(task)), Path(out), settings)

    def forget_truth(self, task: str, model: str) -> None:
        """Write the predictions again with every truth unknown."""
        for run in self.plan.runs(task):
            path = self.plan.predictions(task, model, run)
            table = artifacts.read_table(path).replace_schema_metadata(None)
            unknown = pa.nulls(table.num_rows, pa.float64())
            table = table.set_column(table.column_names.index("truth"), "truth", unknown)
            artifacts.write_table(path, table, self._by("predict", "unknown"), schema="visionfm/predictions/1")
        self.evaluate(task, model)

    def _truth(self, target: dict[str, Any]) -> Any:
        if target["type"] == "value":
            return float(self.rng.normal(60, 12))
        if target["type"] == "multiclass":
            return float(self.rng.choice(5, p=[0.4, 0.1, 0.25, 0.15, 0.1]))
        return [float(self.rng.random() < share) for share in (0.4, 0.25, 0.15)] + [0.0]

    def _answers(
        self, sample: dict[str, Any], targets: dict[str, Any], subset: str, run: str, skill: float
    ) -> list[dict[str, Any]]:
        found = []
        for name, target in targets.items():
            row = {key: sample[key] for key in ("sample_id", "subject_id", "dataset", "split")} | {
                "run": run,
                "target": name,
            }
            row |= {
                "modalities": "Fundus",
                "subset": subset,
                "class": None,
                "scores": None,
                "value": None,
                "unit": target["unit"],
            }
            if target["type"] == "value":
                found.append(
                    row | {"truth": sample[name], "value": 12 + 0.8 * sample[name] + float(self.rng.normal(0, 5))}
                )
            elif target["type"] == "multiclass":
                logits = self.rng.normal(size=5) + skill * (np.arange(5) == sample[name])
                found.append(row | {"truth": sample[name], "scores": (np.exp(logits) / np.exp(logits).sum()).tolist()})
            else:
                for disease, truth in zip(target["classes"], sample[name], strict=True):
                    score = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + self.rng.normal())))
                    found.append(row | {"class": disease, "truth": truth, "scores": [float(score)]})
        return found


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fabricate(images: dict[str, list[str]] | None = None, samples: int = 150) -> Fabricated:
    return Fabricated(images if images is not None else _draw_pictures(), samples).write()


@pytest.fixture(scope="session")
def fabricate_at() -> Callable[..., Fabricated]:
    """Return a function that writes a fabricated run below the working directory; it draws pictures unless given."""
    return _fabricate


@pytest.fixture
def fabricated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fabricated]:
    """Return the same function after a change to a fresh working directory."""
    monkeypatch.chdir(tmp_path)
    return _fabricate


def _draw_pictures() -> dict[str, list[str]]:
    from PIL import Image

    found: dict[str, list[str]] = {}
    for number, name in enumerate(("fundus", "ffa", "oct")):
        folder = Path("data", name)
        folder.mkdir(parents=True)
        found[name] = [f"img{index:02d}.png" for index in range(10)]
        for index, path in enumerate(found[name]):
            Image.new("RGB", (40 + index, 32), (25 * index, 80 * number, 90)).save(folder / path)
    return found
