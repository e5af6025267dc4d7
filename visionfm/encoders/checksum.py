"""Stage `checksum`: the identity of a weights file, so that nothing else reads gigabytes to see whether it changed.

Reads a weights file; writes a JSON artefact with its sha256, name and size. Invariant: the path is no part of it.
"""

import argparse
import hashlib
import json
from pathlib import Path

from visionfm import artifacts
from visionfm.errors import DataError

SCHEMA = "visionfm/checksum/1"
CHUNK_BYTES = 1 << 22


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's own flags."""
    parser.add_argument("--weights", type=Path, required=True, help="the weights file")
    parser.add_argument("--out", type=Path, required=True, help="weights.json to write")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    write_checksum(args.weights, args.out)


def write_checksum(weights: Path, out: Path) -> None:
    """Write sha256, name and bytes of `weights` to the JSON artefact `out`; raises DataError where there is no file."""
    check_present(weights)
    content = {"sha256": sha256_of(weights), "name": weights.name, "bytes": weights.stat().st_size}
    made_by = artifacts.provenance("checksum", {"name": weights.name}, {"weights": str(content["sha256"])})
    if not artifacts.recall(out, made_by):
        artifacts.write_json(out, content, made_by, schema=SCHEMA)


def check_present(weights: Path) -> None:
    """Raise DataError, with the way to the weights, unless `weights` is a file."""
    if weights.is_file():
        return
    raise DataError(
        "the weights file is missing",
        expected="a file with the encoder's weights",
        found="a folder" if weights.is_dir() else "nothing",
        where=weights,
        do="`visionfm encoders` says who gives it out; or write `weights: random` for an untrained encoder",
    )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex; of an index of safetensors with those of the files that it lists."""
    digest = hashlib.sha256()
    for part in (path, *_shards(path)):
        with part.open("rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _shards(path: Path) -> list[Path]:
    """Return the files beside an index that it lists and that are there; what is wrong with it is said when read."""
    if not path.name.endswith(".safetensors.index.json"):
        return []
    try:
        names = {str(name) for name in json.loads(path.read_bytes())["weight_map"].values()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return [
        path.with_name(name) for name in sorted(names) if Path(name).name == name and path.with_name(name).is_file()
    ]
