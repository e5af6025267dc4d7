"""`visionfm check --explain`: what a config would do, in numbers, before any job is queued.

Images are counted, features that are cached already are not encoded again, and time is estimated from a few forward
passes on this machine: an estimate, and said to be one. Reads names of files and caches' lists of them, no pixel.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from visionfm import artifacts
from visionfm.data.listing import list_images
from visionfm.encoders.file import EncoderFile, read_encoder_file
from visionfm.features.settings import ExtractSettings
from visionfm.project.memory import extract_mb
from visionfm.project.plan import Plan

PASSES = 2  # that are timed, after one that is not
VIEWS_AT_ONCE = 4


def explain(plan: Plan, measure: bool = True) -> Iterator[str]:
    """Yield a line for each cache of features, then what is not there yet; `measure` False: without time."""
    speed: dict[tuple[str, int], float] = {}
    total_s, total_mb = 0.0, 0.0
    for encoder, dataset in plan.extractions():
        root, block = Path(plan.config.datasets[dataset].root), plan.config.datasets[dataset]
        if not root.is_dir():
            yield f"features of {dataset} by {encoder}: its folder is not there yet"
            continue
        settings = plan.encoding.extract_settings(encoder, dataset)
        listed = {entry.path for entry in list_images(root, block.layout, block.images)}
        known = _cached(plan.features(encoder, dataset))
        new = len(listed - known)
        line = (
            f"features of {dataset} by {encoder}: {len(listed)} images, {new} to encode in {len(settings.views)} views"
        )
        file = _encoder(plan.encoder(encoder))
        if file is None:
            yield f"{line}; how long and how large is known once the encoder is there"
            continue
        levels, width = file.vector_shape
        each = len(settings.views) * (levels * width + file.mean_width) * (2 if settings.dtype == "float16" else 4)
        disk_mb = len(listed) * each / 1e6
        total_mb += disk_mb
        needs_mb = max(extract_mb(settings, path) for path in plan.images(dataset))
        line += f"; {disk_mb:.1f} MB on disk, {needs_mb} MB of memory"
        if measure and new:
            key = (str(file.path), settings.size)
            if key not in speed:
                speed[key] = _seconds_per_view(file, settings)
            seconds = speed[key] * new * len(settings.views)
            total_s += seconds
            line += f", about {_time(seconds)} here"
        yield line
    if total_mb:
        yield f"all features: {total_mb:.1f} MB" + (f", about {_time(total_s)} (an estimate)" if total_s else "")
    yield from _missing(plan)


def _cached(files: list[str]) -> set[str]:
    """Return the paths of images whose features a cache holds."""
    there = [path for path in files if Path(path).is_file()]
    return {str(name) for path in there for name in artifacts.read_hdf5_arrays(path, ("path",))["path"]}


def _encoder(path: str) -> EncoderFile | None:
    return read_encoder_file(path) if Path(path).is_file() else None


def _seconds_per_view(file: EncoderFile, settings: ExtractSettings) -> float:
    """Return the seconds of one image in one view, measured on a few grey ones; reading of files is not in it."""
    import torch

    from visionfm.encoders.vit import load_encoder

    on_gpu = settings.device != "cpu" and torch.cuda.is_available()
    modality = settings.modality or next(iter(file.by_modality))
    encoder = load_encoder(file.path, image_size=settings.size, device="cuda" if on_gpu else "cpu", modality=modality)
    images = torch.full((VIEWS_AT_ONCE, 3, settings.size, settings.size), 128, dtype=torch.uint8, device=encoder.device)
    encoder.cls_and_mean(images)
    start = time.perf_counter()
    for _ in range(PASSES):
        encoder.cls_and_mean(images)[0].cpu()
    return (time.perf_counter() - start) / (PASSES * VIEWS_AT_ONCE)


def _missing(plan: Plan) -> Iterator[str]:
    """Yield how many artefacts are not there yet, by the folder of results that they belong to."""
    everything = plan.everything()
    missing = [path for path in everything if not Path(path).exists()]
    of = Counter(Path(path).parts[1] for path in missing)
    if not missing:
        yield f"all {len(everything)} artefacts are there; `visionfm run CONFIG -n` lists what a change makes anew"
        return
    counted = ", ".join(f"{name} {count}" for name, count in sorted(of.items()))
    yield f"{len(missing)} of {len(everything)} artefacts are to be made: {counted}"
    if len(missing) < len(everything):
        yield "the others are there; `visionfm run CONFIG -n` lists which of them a change makes anew"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
