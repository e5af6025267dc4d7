"""Write synthetic datasets in the published layouts: people with two eyes and several modalities, some images missing.

Writes DIR/<Modality>/*.png (pretrain), DIR/<Modality>Forecasting/{training,test}/*.png with visits.csv, or
DIR/<Modality><Task>/dataset_A/{training,test}/*.png with their label files (dense tasks: images/ and labels/ in them),
and DIR/truth.csv. Invariants: a person is in one split for all modalities; an image depends on (seed, task's kind of
truth, person, eye, modality, size, difficulty) alone, not on how many people, workers or other modalities there are;
all or nothing is written.
"""

import io
import logging
import multiprocessing
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionfm.errors import DataError, UsageError
from visionfm.modalities import canonical
from visionfm.runtime.progress import track
from visionfm.synthetic import partners
from visionfm.synthetic.drawing import DRAWERS, render
from visionfm.synthetic.findings import BIOMARKERS, EYES, GRADES, Findings, disease_vector, draw_findings
from visionfm.synthetic.forecasting import draw_outcome, noise_outcome
from visionfm.synthetic.items import Encoded, Item, label_path, truth_table
from visionfm.synthetic.scene import DIFFICULTIES
from visionfm.synthetic.visits import forecasts

TASKS = {  # published folder suffix; none: no labels, no splits
    "pretrain": None,
    "single_cls": "Classification",
    "multi_cls": "ClassificationMulti",
    "metric_reg": "Regression",
    "segmentation": "Segmentation",
    "landmark": "LandmarkDetection",
    "forecasting": "Forecasting",
}
SPLITS = ("training", "test")
DATASET = "dataset_A"
DEFAULT_SIZE = 512
DEFAULT_NUMBER = 100
SMALLEST_PX = 64
CHANCE_MISSING_MODALITY = 0.08  # for both eyes of a person
CHANCE_MISSING_EYE = 0.08
# Those of pretraining are other people than those of the labelled tasks (0): no test image is pretrained on.
POPULATIONS = {"pretrain": 1}
NOISE_VALUES = 255  # pixels 0..254, as the published generator draws them
log = logging.getLogger("visionfm")


def write_dataset(
    task: str,
    out: Path,
    *,
    number: int = DEFAULT_NUMBER,
    size: int = DEFAULT_SIZE,
    modalities: Sequence[str] = (),
    seed: int = 0,
    difficulty: str = "easy",
    noise: bool = False,
    workers: int = 1,
) -> int:
    """Write one dataset below `out`, which must be new or empty; return the number of images.

    `number` counts people per split (with `noise`: images per split and modality), `size` is the side in pixels,
    `modalities` are names or aliases (none: all eight). Raises UsageError for settings that cannot be carried out,
    DataError when `out` has content or cannot be written.
    """
    names = _checked(task, number, size, modalities, seed, difficulty)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            "the output folder is not empty",
            expected="a new or empty folder",
            found="a file" if not out.is_dir() else "a folder with content",
            where=out,
            do="name another folder, or empty this one",
        )
    items = list(
        _noise(task, names, number, size, seed) if noise else _eyes(task, names, number, size, seed, difficulty)
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            part.chmod(0o755)
            _write(part, task, items, workers)
            part.rename(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise DataError(
            "the dataset could not be written",
            found=error.strerror or error,
            where=out,
            do="check space and permissions",
        ) from error
    log.info("wrote %d images of %s to %s", len(items), ", ".join(names), out)
    return len(items)


def _checked(
    task: str, number: int, size: int, modalities: Sequence[str], seed: int, difficulty: str
) -> tuple[str, ...]:
    for name, value, known in (("task", task, TASKS), ("difficulty", difficulty, DIFFICULTIES)):
        if value not in known:
            raise UsageError(f"unknown {name}", expected=" | ".join(known), found=value)
    for name, given, least in (("number", number, 1), ("size", size, SMALLEST_PX), ("seed", seed, 0)):
        if given < least:
            raise UsageError(f"{name} is too small", expected=f"at least {least}", found=given)
    known_names = partners.FOLDERS.get(task, DRAWERS)
    asked = {canonical(name) for name in modalities} or set(known_names)
    strange = sorted(asked - set(known_names))
    if strange:
        raise UsageError(
            f"no drawing of that modality for {task}", expected=" | ".join(known_names), found=", ".join(strange)
        )
    return tuple(name for name in DRAWERS if name in asked)


def _eyes(task: str, names: Sequence[str], number: int, size: int, seed: int, difficulty: str) -> Iterator[Item]:
    """Yield the images of `number` people per split: odd ones train, even ones test, so that sets of any size nest."""
    population = POPULATIONS.get(task, 0)
    letter = "p" if population else "s"
    for person in range(1, number * (1 if task == "pretrain" else 2) + 1):
        split = "" if task == "pretrain" else SPLITS[(person - 1) % 2]
        subject = f"{letter}{person:04d}"
        eyes = draw_findings(np.random.default_rng([seed, population, person]))
        for name in names:
            for eye in _present(name, seed, population, person):
                findings = eyes[eye]
                if task in partners.FOLDERS:
                    findings = partners.clear_view(name, findings, np.random.default_rng([seed, person, *eye.encode()]))
                item = Item(
                    task=task,
                    path=_place(task, name, split, f"{subject}_{eye}.png"),
                    subject=subject,
                    eye=eye,
                    modality=name,
                    split=split,
                    label=_label(task, findings),
                    findings=findings,
                    entropy=(seed, population, person, EYES.index(eye) + 1),
                    size=size,
                    difficulty=difficulty,
                )
                yield from _visits(item) if task == "forecasting" else [item]


def _visits(item: Item) -> Iterator[Item]:
    """Yield an eye's image at each visit; the baseline's is the one that the other tasks have."""
    assert item.findings is not None
    outcome, visits = draw_outcome(item.findings, item.entropy)
    for visit in visits:
        yield item._replace(
            path=item.path.replace(".png", f"_{visit.name}.png"),
            findings=visit.findings,
            entropy=(*item.entropy, visit.days_before) if visit.days_before else item.entropy,
            outcome=outcome,
            days_before=visit.days_before,
        )


def _present(modality: str, seed: int, population: int, person: int) -> tuple[str, ...]:
    """Return the eyes of which the person has an image; the first person of each split has them all."""
    rng = np.random.default_rng([seed, population, person, zlib.crc32(modality.encode())])
    absent = rng.random() < CHANCE_MISSING_MODALITY
    lacking = rng.random(len(EYES)) < CHANCE_MISSING_EYE
    if person <= len(SPLITS):
        return EYES
    return tuple(eye for eye, lacks in zip(EYES, lacking, strict=True) if not (absent or lacks))


def _noise(task: str, names: Sequence[str], number: int, size: int, seed: int) -> Iterator[Item]:
    """Yield plain noise images as the published generator makes them, but seeded."""
    for name in names:
        for split in ("",) if task == "pretrain" else SPLITS:
            stream = zlib.crc32(f"{task}/{name}/{split}".encode())
            labels = np.random.default_rng([seed, stream])
            for index in range(number):
                if task == "metric_reg":
                    label = ",".join(repr(float(value)) for value in labels.uniform(0, 100, len(BIOMARKERS)))
                else:
                    grade = int(labels.integers(GRADES))
                    label = str(grade) if task == "single_cls" else ",".join(map(str, disease_vector(grade)))
                yield Item(
                    task=task,
                    path=_place(task, name, split, f"{index:08d}.png"),
                    subject="",
                    eye="",
                    modality=name,
                    split=split,
                    label="" if task in ("pretrain", "forecasting") or task in partners.FOLDERS else label,
                    findings=None,
                    entropy=(seed, stream, index),
                    size=size,
                    difficulty="",
                    outcome=noise_outcome(labels) if task == "forecasting" else None,
                )


def _place(task: str, modality: str, split: str, file: str) -> str:
    suffix = TASKS[task]
    if task == "forecasting":
        return f"{modality}{suffix}/{split}/{file}"
    if task in partners.FOLDERS:
        return f"{partners.FOLDERS[task][modality]}/{DATASET}/{split}/images/{file}"
    return f"{modality}/{file}" if suffix is None else f"{modality}{suffix}/{DATASET}/{split}/{file}"


def _label(task: str, findings: Findings) -> str:
    if task == "single_cls":
        return str(findings.dr_grade)
    if task == "multi_cls":
        return ",".join(map(str, findings.diseases))
    return ",".join(map(repr, findings.values)) if task == "metric_reg" else ""


def _write(part: Path, task: str, items: Sequence[Item], workers: int) -> None:
    for folder in sorted({(part / path).parent for item in items for path in (item.path, label_path(item)) if path}):
        folder.mkdir(parents=True)
    points: list[dict[str, tuple[float, float]]] = []
    for item, written in zip(items, track(_encoded(items, workers), total=len(items), what="synth"), strict=True):
        (part / item.path).write_bytes(written.image)
        if written.partner is not None:
            (part / label_path(item)).write_bytes(written.partner.content)
            points.append(written.partner.points)
    lines: dict[Path, list[str]] = {}
    for item in items:
        if item.label:
            home = (part / item.path).parent.parent
            lines.setdefault(home / f"{item.split}_labels.txt", []).append(
                f"{item.split}/{Path(item.path).name};{item.label}"
            )
    for name, text in forecasts(items).items():
        (part / name).write_text(text, encoding="ascii")
    for file, rows in lines.items():
        file.write_text("\n".join(rows) + "\n", encoding="ascii")
    (part / "truth.csv").write_text(truth_table(items, points), encoding="ascii")


def _encoded(items: Sequence[Item], workers: int) -> Iterable[Encoded]:
    if workers <= 1:
        yield from map(encode, items)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(encode, items, chunksize=4)


def encode(item: Item) -> Encoded:
    """Return one image's PNG file, and what belongs to it; grey modalities are stored with one channel."""
    rng = np.random.default_rng(list(item.entropy))
    pixels: npt.NDArray[np.uint8]
    partner = None
    if item.findings is None:
        pixels = rng.integers(0, NOISE_VALUES, (item.size, item.size, 3), dtype=np.uint8)
        if item.task in partners.FOLDERS:
            partner = partners.noise_partner(item.task, rng, item.size)
    else:
        dense = item.task in partners.FOLDERS
        pixels, geometry = render(item.modality, item.findings, rng, item.size, item.difficulty, marks=not dense)
        if dense:
            partner = partners.drawn_partner(item.task, item.modality, geometry, item.size)
        if np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2]):
            pixels = pixels[..., 0]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return Encoded(file.getvalue(), partner)
