"""`visionfm package results/tasks/TASK/MODEL --intended-use TEXT`: a trained model as one file, to be handed over.

Reads a finished model's folder and the encoders and caches it names; writes NAME.vfm. Invariants: what is packaged
answers its samples as predictions.parquet has them; no image, no id and no feature of a patient is in it.
"""

import argparse
import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.config.yaml_files import read_yaml
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError, UsageError
from visionfm.features.cache import FeatureStore
from visionfm.features.rows import RowIdentity
from visionfm.images.identity import frame_of
from visionfm.metrics.decisions import CONFORMAL
from visionfm.synthetic.drawing import DRAWERS
from visionfm.tasks import kind_of
from visionfm.tasks.encodings import Encoding
from visionfm.tasks.evaluate import SCHEMA as METRICS
from visionfm.tasks.package import contents, novelty
from visionfm.tasks.package.card import card
from visionfm.tasks.package.contents import Contents, EncoderEntry, MemberEntry, Question
from visionfm.tasks.package.members import Member, members_of, number_in
from visionfm.tasks.settings import EvaluateSettings

WANTED = re.compile(r"(sensitivity|specificity) (\S+)")  # an operating point's name in metrics.parquet
SETS = re.compile(r"conformal (\S+)")
REPRODUCED = 1e-3  # the most that validation answers may differ: a GPU may have predicted them
PICTURE_PX = 256
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="DIR", help="results/tasks/TASK/MODEL of a finished run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: TASK-MODEL.vfm in this folder")
    use = parser.add_mutually_exclusive_group(required=True)
    use.add_argument("--intended-use", metavar="TEXT", help="for whom and what, in a sentence")
    use.add_argument("--config", metavar="FILE", type=Path, help="the run's config, whose `study.intended_use` says it")
    parser.add_argument("--licence", metavar="TEXT", help="under which others may use it")
    parser.add_argument("--onnx", metavar="FILE", type=Path, help="also write the networks as one ONNX graph")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    folder = args.model.absolute()
    out = args.out or Path(f"{folder.parent.name}-{folder.name}{contents.SUFFIX}")
    if out.suffix != contents.SUFFIX or artifacts.kept_path(out) is not None:
        raise UsageError(
            "a model is not packaged there",
            expected=f"a name that ends in {contents.SUFFIX}, outside of a results folder",
            found=out,
        )
    use = args.intended_use if args.config is None else _of_the_study(args.config)
    package(args.model, out, use, args.licence, args.onnx)
    with out.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    log.info("package: %s, %.1f MB, sha256 %s", out, out.stat().st_size / 1e6, digest)


def _of_the_study(config: Path) -> str:
    """Return what a config says of the model's use; UsageError where it says nothing."""
    study = read_yaml(config).values.get("study")
    if not isinstance(study, dict) or not isinstance(said := study.get("intended_use"), str):
        raise UsageError("the config says no intended use", expected="`study: {intended_use: ...}`", where=config)
    return said


def _check_whole_files(member: Member) -> None:
    """Raise UsageError for a model that joins frames of a file: a package reads one picture of each."""
    joins = member.spec.fusion != "pooled"
    if joins and any(frame_of(image_id) is not None for _, _, image_id in member.samples.references):
        raise UsageError(
            "a model of volumes is not packaged",
            expected="samples that are made of whole files",
            found="samples that join the frames of a file, of which a package would read one",
            do="hand over encoder.safetensors and decoder.safetensors, which a config names by `decoder`",
        )


def package(folder: Path, out: Path, intended_use: str, licence: str | None = None, onnx: Path | None = None) -> None:
    """Write the package of `results/tasks/TASK/MODEL`, and its networks as `onnx`; see the module.

    Raises UsageError for what a package cannot hold, DataError where something of the run is missing, or where the
    decoders do not answer as they did.
    """
    if not intended_use.strip():
        raise UsageError("the intended use is empty", expected="for whom and what, in a sentence")
    members = members_of(folder)
    _check_whole_files(members[0])
    task, model = folder.absolute().parent.name, folder.absolute().name
    metrics = artifacts.read_table(folder / "metrics.parquet", schema=METRICS).to_pandas()
    tta = _reproduced(members)
    questions, level = _questions(members, metrics, task, model)
    first = members[0]
    encoders, entries = _encoders(members)
    said = Contents(
        task=task,
        model=model,
        kind=first.spec.kind,
        unit=artifacts.read_metadata(first.samples_table)["unit"],
        fusion=first.spec.fusion,
        modalities=first.spec.modalities,
        targets=first.spec.targets,
        tta=tta,
        encoders=entries,
        members=[MemberEntry(run=one.run, encoders={name: encoders[path, name] for name, path in one.encoders.items()})
                 for one in members],
        questions=questions,
        conformal=level,
        intended_use=intended_use,
        licence=licence,
        trained_on={split: int(first.samples.in_splits([split]).sum()) for split in ("train", "validation")},
    )  # fmt: skip
    from visionfm.tasks.package.model import Model, with_golden

    with TemporaryDirectory(prefix="visionfm-") as made:
        _lay_out(Path(made), members, [path for path, _ in encoders], said.modalities)
        loaded = Model(said, Path(made), device="cpu")
        if onnx is not None:
            from visionfm.tasks.package.onnx_export import write

            write(loaded, onnx)
        said = with_golden(said, loaded, said.modalities, Path(made))
        inputs = {f"decoder.{one.run}": artifacts.payload_digest(one.decoder) for one in members}
        contents.write(out, said, Path(made), card(said, metrics[metrics["run"].isin(_runs(members, metrics))]), inputs)


def _lay_out(made: Path, members: Sequence[Member], encoders: Sequence[Path], modalities: Sequence[str]) -> None:
    """Put all files of the package into a folder, by their names in it; large ones as links."""
    for name in ("encoders", "decoders", "golden"):
        (made / name).mkdir()
    for place, path in enumerate(encoders):
        (made / contents.encoder_name(place)).symlink_to(path.absolute())
    for place, member in enumerate(members):
        (made / contents.decoder_name(place)).symlink_to(member.decoder.absolute())
    for place, modality in enumerate(modalities):
        _draw(made / contents.picture_name(place), modality)
    first = members[0]
    found = novelty.fitted(first.samples, FeatureStore(first.caches), first.spec.modalities)
    made_by = artifacts.Provenance("package", 1, "")
    artifacts.write_tensors(made / contents.NOVELTY, novelty.tensors(found), made_by, schema="visionfm/novelty/1")


def _draw(path: Path, modality: str) -> None:
    """Draw an eye that nobody has; of a modality that is not drawn a fundus, for any picture checks the arithmetic."""
    from PIL import Image

    from visionfm.synthetic.drawing import draw
    from visionfm.synthetic.findings import draw_findings

    rng = np.random.default_rng(0)
    findings = draw_findings(rng)["R"]
    Image.fromarray(draw(modality if modality in DRAWERS else "Fundus", findings, rng, PICTURE_PX)).save(path)


# --- what the members are -------------------------------------------------------------------------------------------


def _encoders(members: Sequence[Member]) -> tuple[dict[tuple[Path, str], int], list[EncoderEntry]]:
    """Return each encoder's place and what is said of it; one that sees two modalities has a place for each."""
    places: dict[tuple[Path, str], int] = {}
    entries = []
    for member in members:
        for modality, path in member.encoders.items():
            if (path, modality) not in places:
                places[path, modality] = len(places)
                entries.append(_entry(path, modality, member.identities[modality]))
    return places, entries


def _entry(path: Path, modality: str, identity: RowIdentity) -> EncoderEntry:
    file, encoding = read_encoder_file(path), Encoding.of(identity)
    size = number_in(identity.transform, "square")
    assert size is not None, identity.transform
    source = file.source
    return EncoderEntry.model_validate(
        {
            "modality": modality,
            "mixed": file.is_mix,
            "arch": file.arch,
            "source": str(source.get("name")),
            "licence": None if source.get("licence") is None else str(source["licence"]),
            "size_px": size,
            **dict(encoding.resizing()),
            "precision": identity.precision,
            "dtype": identity.dtype,
            "frame": number_in(identity.transform, "frame"),
            "bits": number_in(identity.transform, "bits"),
        }
    )


def _reproduced(members: Sequence[Member]) -> Any:
    """Return how views are averaged, `none` or `flips`: as the decoders' predictions show.

    DataError where a decoder does not answer as predictions.parquet says.
    """
    from visionfm.tasks.package.answering import answers, numbers
    from visionfm.tasks.prediction_arrays import ALL
    from visionfm.tasks.vectors.decoder import load_own

    ways = set()
    for member in members:
        # All that `predict` answered at once: the last bit of an exponential can depend on its place in an array.
        samples = member.samples.take(member.samples.in_splits(["validation", "test"]))
        rows = artifacts.read_table(member.predictions).to_pylist()
        said = {(row["sample_id"], row["target"], row["class"]): row for row in rows if row["subset"] == ALL}
        store, loaded = FeatureStore(member.caches), load_own(member.decoder)
        off = {}
        for tta in ("none", "flips"):
            found = answers(samples, store, loaded, tta)
            wanted = [_wanted(said, samples.ids["sample_id"], one) for one in found]
            off[tta] = float(np.abs(numbers(found) - np.concatenate(wanted, axis=1)).max(initial=0))
            if off[tta] == 0:
                break
        way = min(off, key=lambda name: off[name])
        if not off[way] <= REPRODUCED:
            raise DataError(
                f"{member.run} does not answer its samples as its predictions say",
                expected=f"at most {REPRODUCED:g} apart",
                found=f"{off[way]:.3g} apart",
                where=member.predictions,
                do="run the pipeline again, then package",
            )
        log.info("package: %s answers %d validation and test samples as in predictions.parquet, %s",
                 member.run, len(samples), "to the bit" if off[way] == 0 else f"{off[way]:.1e} apart")  # fmt: skip
        ways.add(way)
    if len(ways) > 1:
        raise DataError("the runs were predicted with different `tta`", do="run the pipeline again")
    return ways.pop()


def _wanted(said: dict[Any, Any], sample_ids: Any, one: Any) -> Any:
    rows = [said[sample, one.target, one.label] for sample in sample_ids]
    parts = [] if one.value_N is None else [np.array([[row["value"]] for row in rows], np.float64)]
    if one.scores_NK.shape[1]:
        parts.append(np.stack([np.asarray(row["scores"], np.float64) for row in rows]))
    return np.concatenate(parts, axis=1)


# --- what validation data chose -------------------------------------------------------------------------------------


def _questions(members: Sequence[Member], metrics: Any, task: str, model: str) -> tuple[list[Question], float | None]:
    """Return thresholds and limits of sets, chosen on validation as `evaluate` does, and the level of the sets.

    Which are wanted is what metrics.parquet has. Of one decoder they are those of its metrics.
    """
    from importlib import import_module

    from visionfm.tasks.package.answering import of_ensemble, yes_or_no
    from visionfm.tasks.prediction_arrays import read_runs
    from visionfm.tasks.vectors.score import sets

    spec = members[0].spec
    names = {name for name in metrics["operating_point"] if isinstance(name, str)}
    wanted = {name: (at[1], float(at[2])) for name in sorted(names) if (at := WANTED.fullmatch(name))}
    levels = {float(at[1]) for name in names if (at := SETS.fullmatch(name))}
    level = levels.pop() if len(levels) == 1 else None
    settings = EvaluateSettings(
        task=task, model=model, head=spec.head, fusion=spec.fusion, kind=spec.kind, targets=spec.targets
    )
    by_run = read_runs([member.predictions for member in members], settings)
    asks = import_module(kind_of(spec.kind).scoring)
    found = []
    for name, target in spec.targets.items():
        answers = of_ensemble([by_run[member.run][name] for member in members])
        points = asks.thresholds(target, answers.truth_NK, answers.score_NK, wanted)
        by_label: dict[str | None, Question] = {
            label: Question(
                target=name,
                label=label,
                points={point: float(at) for point, at in of.items() if isinstance(at, float)},
            )
            for label, of in zip(yes_or_no(spec.kind, target, answers.score_NK), points, strict=True)
        }
        if level is not None and target.type in ("binary", "multiclass", "multilabel"):
            rows = np.arange(len(answers.truth_NK))
            for measure in sets(target, answers, rows, level):
                if measure.metric == CONFORMAL[0]:
                    before = by_label.get(measure.label, Question(target=name, label=measure.label))
                    limit = measure.threshold if isinstance(measure.threshold, float) else "every class"
                    by_label[measure.label] = before.model_copy(update={"limit": limit})
        found += list(by_label.values())
    return found, level


def _runs(members: Sequence[Member], metrics: Any) -> list[str]:
    """Return the runs of metrics.parquet that speak of these decoders: theirs, those of joined folds, and means."""
    from visionfm.tasks.runs import pooled_run

    own = {pooled_run(member.run) for member in members}
    means = {"mean", "foldmean"} if len(members) > 1 else set()
    return [run for run in dict.fromkeys(metrics["run"]) if run in own | means]
