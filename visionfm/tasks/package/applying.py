"""`visionfm predict --model FILE photos/ --out answers.csv`: a packaged model on photos, with nothing but the package.

Writes a row per image (per sample, where the model joins modalities); what was refused or is doubtful is also said in
the log.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.errors import UsageError

SCHEMA = "visionfm/package-answers/1"
SHOWN = 20
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only a packaged model reads."""
    parser.add_argument("photos", nargs="*", type=Path, help="--model: a folder, images, or a table of them (.csv)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a packaged model (.vfm), for photos")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="--model: where it computes")
    parser.add_argument("--workers", type=int, default=2, help="--model: processes that decode images")


def main(args: argparse.Namespace) -> None:
    """Answer the photos."""
    other = [name for name in ("decoder", "samples", "features", "settings", "images", "encoder", "classes")
             if getattr(args, name) is not None]  # fmt: skip
    if other or not args.photos:
        raise UsageError(
            "a packaged model needs photos, and nothing else",
            expected="visionfm predict --model FILE photos/ --out answers.csv",
            found=", ".join(f"--{name}" for name in other) or "no photos",
        )
    if args.out.suffix not in (".parquet", ".csv"):
        raise UsageError("unknown kind of output", expected="a name ending in .parquet or .csv", found=args.out.name)
    from visionfm.tasks.package.model import OK, load_model

    model = load_model(args.model, device=args.device, workers=args.workers)
    photos = args.photos[0] if len(args.photos) == 1 else args.photos
    rows = model.predict(photos, modality=args.modality)
    name = rows.columns[0]
    refused, doubtful = rows[rows["status"] != OK], rows[rows["doubts"] != ""]
    _say("refused", refused[name], refused["status"])
    _say("doubtful", doubtful[name], doubtful["doubts"])
    write(args.out, rows, args.model)
    log.info("predict: %d answered, %d of them doubtful, %d refused; %s",
             len(rows) - len(refused), len(doubtful), len(refused), args.out)  # fmt: skip


def _say(what: str, names: Any, reasons: Any) -> None:
    shown = [f"\n  {name}: {reason}" for name, reason in zip(names, reasons, strict=True)]
    if shown:
        more = f"\n  and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
        log.warning("%s: %d%s%s", what, len(shown), "".join(shown[:SHOWN]), more)


def write(out: Path, rows: Any, model: Path) -> None:
    """Write answers (a DataFrame) as CSV, or as a Parquet artefact."""
    if out.suffix == ".csv":
        from visionfm.tasks.vectors.any_images import write_csv

        write_csv(out, rows)
        return
    import pyarrow as pa

    made_by = artifacts.provenance("predict", {}, {"model": artifacts.payload_digest(model)})
    artifacts.write_table(out, pa.Table.from_pandas(rows, preserve_index=False), made_by, schema=SCHEMA)
