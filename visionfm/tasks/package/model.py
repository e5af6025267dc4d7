"""A packaged model at work: `visionfm.load_model(FILE).predict(images)`, the same way as `extract` and `predict`.

Invariant: an image goes through `features.encode` and `tasks.predict` as in the pipeline, so that on one machine the
answers have the bits of its predictions.parquet. The golden images are asked first; what answers them otherwise than
where it was packaged is not used.
Shapes: N samples, I images, M members of the ensemble, K scores of a question.
"""

import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import ArtifactError, DataError
from visionfm.features.cache import CacheFile, FeatureStore
from visionfm.features.encode import Encoding
from visionfm.features.settings import ExtractSettings
from visionfm.images.reading import ImageFacts, inspect
from visionfm.images.settings import Reading
from visionfm.images.transforms import VIEWS
from visionfm.metrics.decisions import conformal_sets
from visionfm.runtime.interruption import StopFlag
from visionfm.tasks.package import answering, asked, contents, novelty
from visionfm.tasks.package.answering import Answer
from visionfm.tasks.package.asked import Asked
from visionfm.tasks.package.contents import Contents, Machine, Question
from visionfm.tasks.samples import Samples
from visionfm.tasks.settings import TargetSpec

if TYPE_CHECKING:
    import pandas as pd

OK, BETWEEN = "ok", "; "
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # of golden answers on another machine: probabilities; shares of a value
log = logging.getLogger("visionfm")
Images = str | Path | Sequence[str | Path] | Mapping[str, Mapping[str, str | Path]]


class Model:
    """A model from a package, loaded and checked."""

    def __init__(self, said: Contents, folder: Path, *, device: str = "auto", workers: int = 0) -> None:
        """Load the files of an opened package; `workers` processes decode images, 0: this one."""
        import torch

        from visionfm.tasks.vectors.decoder import load_own

        self.contents = said
        on_gpu = device != "cpu" and torch.cuda.is_available()
        if device == "cuda" and not on_gpu:
            raise DataError("there is no GPU to compute on", expected="CUDA", found="none that torch sees")
        self.device = "cuda" if on_gpu else "cpu"
        self.views = VIEWS if said.tta == "flips" else VIEWS[:1]
        self.encodings = [self._encoding(folder, place, workers) for place in range(len(said.encoders))]
        self.decoders = [load_own(folder / contents.decoder_name(place)) for place in range(len(said.members))]
        self._check_members(folder)
        self.novelty = novelty.read(artifacts.read_tensors(folder / contents.NOVELTY)[0], said.modalities)

    def _encoding(self, folder: Path, place: int, workers: int) -> Encoding:
        entry = self.contents.encoders[place]
        settings = ExtractSettings(
            size=entry.size_px,
            views=list(self.views),
            interpolation=entry.interpolation,
            exact_decode=entry.exact_decode,
            precision=entry.precision,
            dtype=entry.dtype,
            modality=entry.modality if entry.mixed else None,
            frame=entry.frame,
            bits=entry.bits,
            device="cuda" if self.device == "cuda" else "cpu",
            workers=workers,
        )
        path = read_encoder_file(folder / contents.encoder_name(place)).path  # checked: whatever else it is, is refused
        return Encoding(path, settings, Path("/"), _forget, StopFlag())

    def _check_members(self, folder: Path) -> None:
        """Raise ArtifactError where decoders are not those that the package says, or answer other questions."""
        for place, (member, loaded) in enumerate(zip(self.contents.members, self.decoders, strict=True)):
            spec = loaded.spec
            said = (self.contents.kind, self.contents.targets, self.contents.modalities, self.contents.fusion)
            found = (spec.kind, spec.targets, spec.modalities, spec.fusion)
            if said != found or set(member.encoders) != set(spec.modalities):
                where = folder / contents.decoder_name(place)
                raise ArtifactError("a decoder is not the one that its package says", expected=said, found=found,
                                    where=where.name, do="get the file again from whoever made it")  # fmt: skip

    # --- asking -----------------------------------------------------------------------------------------------------

    def predict(self, images: Images, *, modality: str | None = None) -> "pd.DataFrame":
        """Return a row per sample: what it is, whether and why it is doubtful, and the answers.

        `images`: a folder, image files, a table (.csv) of them, or `{sample: {modality: path}}`; see docs/hand-over.md.
        Columns `image` (or `sample` and `images`), `status` (`ok`, or why there is no answer), `doubts`, `typicality`
        in (0, 1], then a few for each target. Raises DataError where there is no image at all.
        """
        return self.table(self.asked(images, modality))

    def asked(self, images: Images, modality: str | None = None) -> list[Asked]:
        """Return what a person means by `images`; see `predict`."""
        known, joined = self.contents.modalities, self.contents.fusion != "pooled"
        if isinstance(images, Mapping):
            return asked.from_samples(images, known)
        given = [images] if isinstance(images, str | Path) else list(images)
        if len(given) == 1 and Path(given[0]).suffix.lower() == ".csv":
            return asked.from_table(Path(given[0]), known)
        return asked.from_paths(given, known, modality, joined=joined)

    def table(self, images: Sequence[Asked]) -> "pd.DataFrame":
        """Return the answers to images; see `predict`."""
        import pandas as pd

        facts = [inspect(one.path, self._reading(one.modality)) for one in images]
        names = sorted({one.sample for one in images})
        of: dict[str, list[int]] = {name: [] for name in names}
        for at, one in enumerate(images):
            of[one.sample].append(at)
        pooled = self.contents.fusion == "pooled"
        if pooled and (several := next((name for name, at in of.items() if len(at) > 1), None)):
            raise DataError("a sample has several images, and this model looks at one", found=several)
        refused = {name: self._refused([(images[i], facts[i]) for i in at], pooled) for name, at in of.items()}
        good = [name for name in names if not refused[name]]
        rows: dict[str, list[Any]] = {"image": names} if pooled else {"sample": names}
        if not pooled:
            rows["images"] = [BETWEEN.join(images[i].name for i in of[name]) for name in names]
        if len(self.contents.modalities) > 1:
            rows["modality"] = ["+".join(dict.fromkeys(images[i].modality for i in of[name])) for name in names]
        rows["status"] = [refused[name] or OK for name in names]
        frame = pd.DataFrame(rows)
        frame["doubts"], frame["typicality"] = "", np.nan
        if not good:
            return frame
        kept = [(images[i], facts[i]) for name in good for i in self._in_order(of[name], images)]
        stores = self._features(kept)
        samples = self._samples(kept, good)
        by_member = [answering.answers(samples, store, loaded, self.contents.tta)
                     for store, loaded in zip(stores, self.decoders, strict=True)]  # fmt: skip
        typicality_N, doubts = self._doubts(samples, stores[0], [one for _, one in kept])
        columns, undecided = self._columns(by_member)
        found = pd.DataFrame({"typicality": typicality_N, **columns}, index=np.flatnonzero(frame["status"] == OK))
        found["doubts"] = [BETWEEN.join([*of_image, *of_answer]) for of_image, of_answer in
                           zip(doubts, undecided, strict=True)]  # fmt: skip
        return found.combine_first(frame)[[*frame.columns, *columns]]

    def _reading(self, modality: str) -> Reading:
        """Return which pixels of a file are meant: as of the training images."""
        entry = self.contents.encoders[self.contents.members[0].encoders[modality]]
        return Reading(frame=entry.frame, bits=entry.bits)

    def _refused(self, images: Sequence[tuple[Asked, ImageFacts]], pooled: bool) -> str:
        bad = [(one, facts.status) for one, facts in images if facts.status != OK]
        return BETWEEN.join(status if pooled else f"{one.name}: {status}" for one, status in bad)

    def _in_order(self, at: Iterable[int], images: Sequence[Asked]) -> list[int]:
        """Return a sample's images as `fuse` orders them, for sums of floats depend on it."""
        order = self.contents.modalities
        return sorted(at, key=lambda i: (order.index(images[i].modality), str(images[i].path)))

    # --- computing --------------------------------------------------------------------------------------------------

    def _features(self, images: Sequence[tuple[Asked, ImageFacts]]) -> list[FeatureStore]:
        """Return each member's features of the images; every encoder sees an image once."""
        held: dict[int, CacheFile] = {}
        for place in sorted({place for member in self.contents.members for place in member.encoders.values()}):
            entry = self.contents.encoders[place]
            held[place] = self._encoded(place, [pair for pair in images if pair[0].modality == entry.modality])
        return [
            FeatureStore({name: [str(place)] for name, place in member.encoders.items()}, lambda at: held[int(str(at))])
            for member in self.contents.members
        ]

    def _encoded(self, place: int, images: Sequence[tuple[Asked, ImageFacts]]) -> CacheFile:
        path_of = {facts.image_id: _below_root(one.path) for one, facts in images}
        work = [(path, image_id) for image_id, path in path_of.items()]
        rows: dict[str, tuple[Any, Any]] = {}
        encoder = self.encodings[place].encoder
        for ids, (cls_NVLD, mean_NVD) in self.encodings[place].run(work, self.views):
            rows.update(zip(ids, zip(cls_NVLD, mean_NVD, strict=True), strict=True))
        dtype, views = self.contents.encoders[place].dtype, len(self.views)
        cls_NVLD = np.zeros((len(images), views, *encoder.file.vector_shape), dtype)
        mean_NVD = np.zeros((len(images), views, encoder.file.mean_width), dtype)
        for at, (_, facts) in enumerate(images):
            cls_NVLD[at], mean_NVD[at] = rows[facts.image_id]
        names = [_below_root(one.path) for one, _ in images], [facts.image_id for _, facts in images]
        return CacheFile(Path(contents.encoder_name(place)), cls_NVLD, mean_NVD, *names, self.views, {})

    def _samples(self, images: Sequence[tuple[Asked, ImageFacts]], names: Sequence[str]) -> Samples:
        """Return the samples as `predict` takes them, of whom nothing is known; `images` in the samples' order."""
        place = {name: at for at, name in enumerate(names)}
        column = np.array(names, dtype=object)
        same = np.full(len(names), "", dtype=object)
        ids = {"sample_id": column, "subject_id": column, "dataset": same, "split": same}
        labels = sum(len(t.classes) if t.type == "multilabel" else 1 + (t.type == "event")
                     for t in self.contents.targets.values())  # fmt: skip
        return Samples(
            ids,
            np.full((len(names), labels), np.nan),
            np.array([place[one.sample] for one, _ in images], dtype=np.int64),
            np.array([one.modality for one, _ in images], dtype=object),
            [(one.modality, _below_root(one.path), facts.image_id) for one, facts in images],
        )

    def answers(self, images: Sequence[Asked]) -> list[list[float]]:
        """Return every number that each member answers to one sample's images, all of which can be read."""
        facts = [inspect(one.path, self._reading(one.modality)) for one in images]
        pairs = list(zip(images, facts, strict=True))
        samples = self._samples(pairs, list(dict.fromkeys(one.sample for one in images)))
        return [
            answering.numbers(answering.answers(samples, store, loaded, self.contents.tta)).ravel().tolist()
            for store, loaded in zip(self._features(pairs), self.decoders, strict=True)
        ]

    # --- saying -----------------------------------------------------------------------------------------------------

    def _doubts(
        self, samples: Samples, store: FeatureStore, facts: Sequence[ImageFacts]
    ) -> tuple[npt.NDArray[np.float64], list[list[str]]]:
        """Return each sample's typicality, that of its least typical image, and what is odd about its images."""
        typicality_N = np.full(len(samples), np.nan)
        doubts: list[list[str]] = [[] for _ in range(len(samples))]
        for at, one in enumerate(facts):
            if one.note:
                doubts[samples.sample_I[at]].append(one.note)
        for modality, known in self.novelty.items():
            rows = np.flatnonzero(samples.modality_I == modality)
            if not len(rows):
                continue
            found_R = known.typicality(novelty.last_cls(store, [samples.references[row] for row in rows]))
            np.fmin.at(typicality_N, samples.sample_I[rows], found_R)
            for row in rows[known.is_rare(found_R)]:
                doubts[samples.sample_I[row]].append(f"unlike the {modality} images of training")
        return typicality_N, doubts

    def _columns(self, by_member: Sequence[Sequence[Answer]]) -> tuple[dict[str, Any], list[list[str]]]:
        """Return the columns of the answers, and what of each sample's is undecided."""
        ensemble = answering.mean(by_member)
        count = len(ensemble[0].scores_NK)
        columns: dict[str, Any] = {}
        undecided: list[list[str]] = [[] for _ in range(count)]
        for name, target in self.contents.targets.items():
            at = [n for n, one in enumerate(ensemble) if one.target == name]
            score_NK = np.concatenate([ensemble[n].scores_NK for n in at], axis=1)
            by_member_MNK = np.stack([np.concatenate([of[n].scores_NK for n in at], axis=1) for of in by_member])
            value_MN = [of[at[0]].value_N for of in by_member]
            columns |= self._shown(name, target, ensemble[at[0]].value_N, score_NK)
            columns |= self._spread(name, target, value_MN, by_member_MNK)
            questions = answering.yes_or_no(self.contents.kind, target, score_NK)
            for question in (one for one in self.contents.questions if one.target == name):
                title = name if question.label is None else f"{name}.{question.label}"
                if question.label in questions:
                    words = _words(target, question.label)
                    for point, threshold in question.points.items():
                        called_N = questions[question.label] >= threshold
                        columns[f"{title} at {point}"] = np.where(called_N, words[1], words[0])
                if question.limit is not None:
                    sets = self._sets(target, question, score_NK)
                    columns[f"{title} set"] = [" or ".join(one) or "none" for one in sets]
                    for at_sample, one in enumerate(sets):
                        if len(one) != 1:
                            undecided[at_sample].append(f"{title}: {' or '.join(one) or 'no class'} possible")
        return columns, undecided

    def _shown(self, name: str, target: TargetSpec, value_N: Any, score_NK: npt.NDArray[np.float64]) -> dict[str, Any]:
        if target.type == "value":
            return {name: value_N}
        if target.type == "event":
            return {f"{name}.by {days:g} days": score_NK[:, k] for k, days in enumerate(target.intervals)}
        if target.type == "binary":
            return {name: score_NK[:, 0]}
        found: dict[str, Any] = {} if self.contents.kind != "ordinal" else {name: value_N}
        found |= {f"{name}.{label}": score_NK[:, k] for k, label in enumerate(target.classes)}
        if target.type == "multiclass":
            called_N = score_NK.argmax(axis=1)
            if self.contents.kind == "ordinal":
                from visionfm.tasks.ordinal.score import called

                called_N = called(score_NK)
            found[f"{name} call"] = np.array(target.classes, dtype=object)[called_N]
        return found

    def _spread(
        self, name: str, target: TargetSpec, value_MN: list[Any], score_MNK: npt.NDArray[np.float64]
    ) -> dict[str, Any]:
        """Return the lowest and highest answer among the members; nothing of one member alone."""
        if len(score_MNK) == 1:
            return {}
        if target.type == "value":
            parts = {name: np.stack(value_MN)}
        elif target.type == "binary":
            parts = {name: score_MNK[:, :, 0]}
        elif target.type == "event":
            parts = {f"{name}.by {days:g} days": score_MNK[:, :, k] for k, days in enumerate(target.intervals)}
        else:
            parts = {f"{name}.{label}": score_MNK[:, :, k] for k, label in enumerate(target.classes)}
        return {
            f"{title} {word}": pick(part_MN, axis=0)
            for title, part_MN in parts.items()
            for word, pick in (("lowest", np.min), ("highest", np.max))
        }

    def _sets(self, target: TargetSpec, question: Question, score_NK: npt.NDArray[np.float64]) -> list[list[str]]:
        """Return each sample's conformal set of one question."""
        classes: Sequence[str] = target.classes
        score_NC = score_NK
        if target.type != "multiclass":
            k = target.classes.index(question.label) if question.label is not None else 0
            score_NC = np.stack([1 - score_NK[:, k], score_NK[:, k]], axis=1)
            classes = _words(target, question.label)
        limit = question.limit if isinstance(question.limit, float) else -np.inf
        return [[classes[k] for k in np.flatnonzero(row).tolist()] for row in conformal_sets(score_NC, limit)]

    # --- golden images ----------------------------------------------------------------------------------------------

    def golden_samples(self, modalities: Sequence[str], folder: Path) -> list[list[Asked]]:
        """Return the golden images as samples: each alone, or of a model that joins modalities all as one."""
        images = [Asked("golden", modality, folder / contents.picture_name(place), "golden")
                  for place, modality in enumerate(modalities)]  # fmt: skip
        return [images] if self.contents.fusion != "pooled" else [[one] for one in images]

    def golden_answers(self, modalities: Sequence[str], folder: Path) -> list[list[float]]:
        """Return what each member answers to the golden images."""
        by_sample = [self.answers(sample) for sample in self.golden_samples(modalities, folder)]
        return [[number for of in by_sample for number in of[m]] for m in range(len(self.contents.members))]

    def check_golden(self, folder: Path) -> None:
        """Raise ArtifactError where the golden images are answered otherwise than where the model was packaged.

        On the same processor, with the same torch and number of threads, every bit must be the same; elsewhere
        TOLERANCE is allowed.
        """
        golden = self.contents.golden
        if golden is None:
            raise ArtifactError("the package has no golden image", do="get the file again from whoever made it")
        found, expected = (np.array(self.golden_answers(golden.modalities, folder)), np.array(golden.answers))
        here = this_machine(self.device)
        if found.shape == expected.shape and np.array_equal(found, expected):
            log.info("golden answer: the same to the bit")
            return
        allowed = max(TOLERANCE[entry.precision] for entry in self.contents.encoders)
        off = np.inf if found.shape != expected.shape else float(
            (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())  # fmt: skip
        if here == golden.machine or not off <= allowed:
            raise ArtifactError(
                "this machine answers the golden image otherwise than the one that packaged the model",
                expected="equal bits on the same machine" if here == golden.machine else f"at most {allowed:g} apart",
                found=f"{off:.3g} apart",
                do="install the versions of requirements.lock, or get the file again",
            )
        log.info("golden answer: %.1e apart, of %g allowed on another machine than it was packaged on", off, allowed)


def load_model(path: str | Path, *, device: str = "auto", workers: int = 0) -> Model:
    """Return a packaged model, whose golden images were answered rightly; `device`: auto, cpu or cuda.

    Raises ArtifactError where the file is damaged, or answers otherwise here than where it was packaged.

    >>> import visionfm
    >>> model = visionfm.load_model("sick.vfm", device="cpu")
    >>> found = model.predict("photos")
    >>> list(found["status"]), "sick" in found.columns
    (['ok', 'ok'], True)
    """
    with contents.opened(Path(path)) as (said, folder):
        model = Model(said, folder, device=device, workers=workers)
        model.check_golden(folder)
    return model


def this_machine(device: str) -> Machine:
    """Return what the bits of an answer depend on."""
    import torch

    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    if device == "cuda":
        processor = torch.cuda.get_device_name()
    return Machine(processor=processor, torch=torch.__version__, threads=torch.get_num_threads(), device=device)


def _words(target: TargetSpec, label: str | None) -> tuple[str, str]:
    """Return what no and yes are called: the classes of a binary target."""
    if target.type == "binary" and len(target.classes) == 2:
        return target.classes[0], target.classes[1]
    return "no", "yes"


def _below_root(path: Path) -> str:
    return path.absolute().relative_to("/").as_posix()


def _forget(*_: object) -> None:
    """Keep no part: nothing is written."""


def with_golden(said: Contents, model: Model, modalities: list[str], folder: Path) -> Contents:
    """Return what a package says, with what the model answers to its golden images."""
    answers = model.golden_answers(modalities, folder)
    return said.model_copy(
        update={
            "golden": contents.Golden(modalities=modalities, answers=answers, machine=this_machine(model.device)),
        }
    )
