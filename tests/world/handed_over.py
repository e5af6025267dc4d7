"""A finished run in small: two modalities of the same eyes, and tasks of several kinds on them, by the stages."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionfm import artifacts, cli
from visionfm.tasks.package.making import package
from visionfm.tasks.settings import EvaluateSettings, PredictSettings, TargetSpec
from world.decoder_data import splits_of, train_settings, write_samples
from world.mixed_encoder import write_mix
from world.small_project import write_encoder, write_images, write_index

COUNT = 60
USE = "Drawn eyes: a test."
GRADES = {"grade": TargetSpec(type="multiclass", classes=["none", "mild", "severe"], ordered=True, form="grades")}
SIGNS = {"signs": TargetSpec(type="multilabel", classes=["red", "blue"])}
VALUES = {"thickness": TargetSpec(type="value", unit="um")}
EVENTS = {"worse": TargetSpec(type="event", form="hazard", intervals=[365.0, 730.0], horizons=[730.0])}
HEADS = {"ordinal": "cumulative", "progression": "hazard"}  # of the kinds that have several
EXTRACT = {"size": 32, "views": ["identity", "h", "v", "hv"], "workers": 0, "device": "cpu"}


class Run:
    """`results/` of a run, and the photos it is of."""

    def __init__(self, folder: Path, mix: bool = False) -> None:
        """`mix`: both modalities are encoded by one encoder of `scheme: mix`."""
        self.folder, self.results = folder, folder / "results"
        self.ids: dict[str, dict[str, str]] = {}
        for seed, (dataset, modality) in enumerate({"eyes": "Fundus", "scans": "OCT"}.items()):
            write_images(folder / modality, COUNT, seed)
            index = write_index(self.results / f"datasets/{dataset}/images.parquet", folder / modality)
            rows = artifacts.read_table(index).to_pylist()
            self.ids[dataset] = {row["path"]: row["image_id"] for row in rows}
            if mix:
                encoder = self.results / "encoders/any/encoder.safetensors"
                if not encoder.is_file():
                    write_mix(write_encoder(folder / "plain.safetensors"), encoder)
            else:
                encoder = write_encoder(self.results / f"encoders/{dataset}/encoder.safetensors", seed)
            asked = {**EXTRACT, "modality": modality} if mix else EXTRACT
            self.call("extract", asked, images=index, root=folder / modality, encoder=encoder, out=self.cache(dataset))

    def cache(self, dataset: str) -> Path:
        return self.results / f"features/{dataset}/{dataset}.cls32.h5"

    def call(self, stage: str, settings: Any, **files: Any) -> None:
        words = [stage, "--settings", settings if isinstance(settings, str) else json.dumps(settings)]
        for name, given in files.items():
            words += [f"--{name.replace('_', '-')}", *map(str, given if isinstance(given, list) else [given])]
        assert cli.main(words) == 0

    def task(
        self,
        name: str,
        targets: dict[str, TargetSpec],
        labels: Sequence[Any],
        *,
        kind: str,
        seeds: int = 1,
        folds: int = 0,
        more: dict[str, Any] | None = None,
        datasets: tuple[str, ...] = ("eyes",),
        fusion: str = "pooled",
        tta: str = "none",
        calibrate: str | None = None,
        evaluate: dict[str, Any] | None = None,
    ) -> Path:
        """Train, calibrate, predict and evaluate; return `results/tasks/NAME/m`."""
        modalities = [{"eyes": "Fundus", "scans": "OCT"}[dataset] for dataset in datasets]
        images = [
            [{"modality": modality, "dataset": dataset, "path": path, "image_id": self.ids[dataset][path]}
             for dataset, modality in zip(datasets, modalities, strict=True)]
            for path in sorted(self.ids["eyes"])
        ]  # fmt: skip
        folder = self.results / f"tasks/{name}/m"
        columns = {target: list(labels) for target in targets}
        splits = splits_of(COUNT)
        divided = {"": splits} if not folds else {f"fold{n}": splits[n:] + splits[:n] for n in range(folds)}
        for part, of in divided.items():
            write_samples(folder / part / "samples.parquet", images, of, columns, targets, fusion, more)
        caches = [f"{dataset}={self.cache(dataset)}" for dataset in datasets]
        same = {"task": name, "model": "m", "kind": kind, "targets": targets, "fusion": fusion}
        predictions = []
        for seed, part in itertools.product(range(seeds), divided):
            name = f"seed{seed}-{part}".rstrip("-")
            run, samples = folder / name, folder / part / "samples.parquet"
            train = samples.with_name("train.parquet")
            head = {"head": HEADS[kind]} if kind in HEADS else {}
            settings = train_settings(
                targets, recipe="cumulative" if kind == "ordinal" else "sound", kind=kind, seed=seed, epochs=3,
                modalities=modalities, fusion=fusion, **head,
            )  # fmt: skip
            decoder = run / "decoder.safetensors"
            self.call("train", settings.model_dump_json(), train=train, features=caches, out=decoder,
                      training_out=run / "training.parquet")  # fmt: skip
            if calibrate:
                decoder = run / "calibrated.safetensors"
                of = {"method": calibrate, "kind": kind, "modalities": modalities}
                self.call(
                    "calibrate", of, decoder=run / "decoder.safetensors", train=train, features=caches, out=decoder
                )
            asks = PredictSettings(**same, run=name, modalities=modalities, tta=tta)
            self.call("predict", asks.model_dump_json(), decoder=decoder, samples=samples,
                      features=caches, out=run / "predictions.parquet")  # fmt: skip
            predictions.append(run / "predictions.parquet")
        scoring = EvaluateSettings(**same, head=HEADS.get(kind, "linear"), **(evaluate or {}))
        self.call("evaluate", scoring.model_dump_json(), predictions=predictions, out=folder / "metrics.parquet")
        return folder

    def packaged(self, folder: Path) -> Path:
        out = self.folder / f"{folder.parent.name}.vfm"
        package(folder, out, USE, "CC0-1.0")
        return out
