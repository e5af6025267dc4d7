"""Metrics of each image's mask, from the archives of each run and the files of the truth: image_metrics.parquet.

A row per run, image, class and metric, null where the metric does not exist; images without a mask have no rows. Of
slices of volumes there are the counts of pixels too, from which the metrics of volumes are made. The
second observer is a run of its own, `observer2`, measured against the first. A run whose archives did not change is
taken from the table as it was kept, so that one more seed measures one more seed.
Shapes: H/W px, upright.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.archive import Archive
from visionfm.artifacts.arguments import check_given
from visionfm.data.columns import DenseSample
from visionfm.errors import ArtifactError
from visionfm.images.identity import frame_of
from visionfm.images.masks import read_mask
from visionfm.images.parallel import in_order
from visionfm.metrics.masks import Scores, mask_scores, pixel_counts
from visionfm.runtime.progress import track
from visionfm.tasks.maps.archive import map_names, read_map
from visionfm.tasks.maps.settings import DenseTarget
from visionfm.tasks.prediction_arrays import REDO, read_frames
from visionfm.tasks.runs import OBSERVER, fold_of, pooled_run
from visionfm.tasks.settings import EvaluateSettings

SCHEMA = "visionfm/image-metrics/1"
IDS = ("run", "sample_id", "subject_id", "dataset", "modalities", "split", "target")
Row = dict[str, Any]
log = logging.getLogger("visionfm")


class RunFiles(NamedTuple):
    """What `predict` wrote of one run."""

    predictions: Path
    masks: Path
    probabilities: Path


class _Measured(NamedTuple):
    """One image to be measured: the mask in a run's archive, or (None) the second observer's."""

    row: Mapping[str, Any]
    files: RunFiles | None


def measure(
    runs: Sequence[RunFiles],
    roots: Mapping[str, Path],
    out: Path,
    made_by: artifacts.Provenance,
    digests: Mapping[Path, str],
    settings: EvaluateSettings,
    workers: int = 0,
) -> Any:
    """Write the table of all runs to `out` and return it as a DataFrame; `digests` are those of the runs' files."""
    import pyarrow as pa

    files_of = {files.predictions: files for files in runs}
    frames = read_frames(list(files_of), settings)
    rows_of = {run: (files_of[path], _rows(rows, path)) for run, (path, rows) in frames.items()}
    first_files, _ = next(iter(rows_of.values()))
    asked = _asked_once({run: rows for run, (_, rows) in rows_of.items()})
    work = {run: [_Measured(row, files) for row in rows if row["mask_path"]] for run, (files, rows) in rows_of.items()}
    seen = [row for rows in asked.values() for row in rows if row["mask_path"] and row["mask2_path"]]
    work[OBSERVER] = [_Measured(row, None) for row in sorted(seen, key=lambda row: str(row["sample_id"]))]
    keys = {run: _key([digests[path] for path in files], settings) for run, (files, _) in rows_of.items()}
    keys[OBSERVER] = _key([digests[rows_of[run][0].predictions] for run in asked], settings)
    kept = _kept(out, keys)
    target = _target(first_files.masks)
    parts = []
    for run, samples in work.items():
        if run in kept:
            log.info("evaluate: %s: %d images measured before", run, len(samples))
            parts.append(kept[run])
            continue
        rows = [row for found in _measured(samples, roots, target, settings, workers, run) for row in found]
        parts.append(pa.Table.from_pylist(rows, schema=_schema()))
    table = pa.concat_tables(parts).combine_chunks()
    artifacts.write_table(out, table, made_by, schema=SCHEMA, extra={"measured": json.dumps(keys, sort_keys=True)})
    return table.to_pandas()


def _asked_once(rows_of: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Return the first run's rows; of folds the test rows of the first division, each image once."""
    first = next(iter(rows_of))
    if fold_of(first) is None:
        return {first: rows_of[first]}
    found: dict[str, list[Row]] = {}
    taken: set[str] = set()
    for run, rows in rows_of.items():
        if pooled_run(run) == pooled_run(first):
            found[run] = [row for row in rows if row["split"] == "test" and row["sample_id"] not in taken]
            taken |= {row["sample_id"] for row in found[run]}
    return found


def _rows(rows: Any, path: Path) -> list[Row]:
    import pyarrow as pa

    if rows["sample_id"].duplicated().any():
        raise ArtifactError("a sample is answered twice", where=path, do=REDO)
    # By way of Arrow: what is missing is None there, and NaN in pandas.
    found: list[Row] = pa.Table.from_pandas(rows.sort_values("sample_id"), preserve_index=False).to_pylist()
    return found


def _target(masks: Path) -> tuple[str, DenseTarget]:
    """Return the one target of a run's masks, as the archive names its classes and their pixel values."""
    ((name, target),) = json.loads(artifacts.read_metadata(masks, verify=False)["targets"]).items()
    return name, DenseTarget.model_validate(target)


# --- what was measured before ---------------------------------------------------------------------------------------


def _key(digests: Sequence[str], settings: EvaluateSettings) -> str:
    inputs = {f"files.{number}": digest for number, digest in enumerate(digests)}
    return artifacts.provenance("evaluate", {"tubular": settings.tubular}, inputs).key


def _kept(out: Path, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return run -> its rows, of the runs that the table's kept copy measured from the same files."""
    import pyarrow.compute as pc

    path = artifacts.kept_path(out)
    if path is None or not path.is_file():
        return {}
    try:
        table = artifacts.read_table(path, schema=SCHEMA, earlier=True)
    except ArtifactError as error:
        log.warning("%s is damaged and will be made again: %s", path, error.problem)
        return {}
    measured = json.loads(table.schema.metadata[b"measured"])
    table = table.replace_schema_metadata(None)
    return {run: table.filter(pc.equal(table["run"], run)) for run, key in keys.items() if measured.get(run) == key}


# --- one image ------------------------------------------------------------------------------------------------------


def _measured(
    samples: Sequence[_Measured],
    roots: Mapping[str, Path],
    target: tuple[str, DenseTarget],
    settings: EvaluateSettings,
    workers: int,
    run: str,
) -> Iterator[list[Row]]:
    check_given("--roots", sorted({one.row["dataset"] for one in samples}), roots)
    one = partial(measure_image, roots=roots, target=target, tubular=target[0] in settings.tubular, run=run)
    with closing(in_order(samples, one, workers)) as found:
        yield from (rows for _, rows in track(found, total=len(samples), what=f"evaluate {run}"))


def measure_image(
    one: _Measured, *, roots: Mapping[str, Path], target: tuple[str, DenseTarget], tubular: bool, run: str
) -> list[Row]:
    """Return the rows of one image; DataError where a mask is not the one that was labelled."""
    name, spec = target
    row, root = one.row, roots[one.row["dataset"]]
    sample = _sample(row)
    truth_HW, inside_HW = sample.mask(root, spec.values), sample.fov(root)
    assert truth_HW is not None, "only images with a mask are measured"
    if one.files is None:
        said_HW, probabilities = sample.mask(root, spec.values, "mask2"), None
        assert said_HW is not None, "only images with a second observer's mask are measured for it"
    else:
        where = f"{one.files.masks}: {row['mask']}"
        data = Archive(one.files.masks, verify=False).read(row["mask"])
        said_HW = read_mask(data, spec.values, orientation=sample.orientation, where=where)
        maps = Archive(one.files.probabilities, verify=False)
        names = map_names(row["mask"], len(spec.classes))
        probabilities = {index: read_map(maps.read(at)) for index, at in names.items() if at in maps.names} or None
    scores = mask_scores(truth_HW, said_HW, spec.classes, inside_HW, sample.mm_per_px, tubular, probabilities)
    if frame_of(sample.image_id) is not None:
        scores |= pixel_counts(truth_HW, said_HW, spec.classes, inside_HW)
    seen = {spec.classes[index] for index in np.unique(truth_HW if inside_HW is None else truth_HW[inside_HW])}
    ids = {column: row[column] for column in IDS} | {"run": run, "target": name}
    return [ids | cell for cell in _cells(scores, seen, spec.classes)]


def _cells(scores: Scores, seen: set[str], classes: Sequence[str]) -> Iterator[Row]:
    for (label, metric), value in scores.items():
        present = label in seen if label in classes else None
        yield {"class": label, "metric": metric, "value": None if np.isnan(value) else value, "present": present}


def _sample(row: Mapping[str, Any]) -> DenseSample:
    of_row = [name for name in DenseSample.__dataclass_fields__ if name not in ("modality", "points")]
    return DenseSample(**{name: row[name] for name in of_row}, modality=row["modalities"], points={})


def _schema() -> Any:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in (*IDS, "class", "metric")]
    return pa.schema([*texts, ("value", pa.float64()), ("present", pa.bool_())])
