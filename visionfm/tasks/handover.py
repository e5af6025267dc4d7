"""`visionfm handover DECODER --out FILE`: a k-NN decoder that stands alone, to be given away or used elsewhere.

A run's own file names its training samples, whose features stay in the caches. The copy holds these features, and no
digests of the images. All other decoders stand alone as they are. Imports torch in functions.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.errors import UsageError
from visionfm.tasks.vectors.spec import HELD, NAMED, Spec

# Metadata beside the spec: a copy of a decoder keeps what of them its run gave it.
FROM_ITS_RUN = ("encodings", "views", "recipe", "n_train", "n_validation", "best_epoch", "candidate")
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("decoder", type=Path, help="decoder.safetensors of a k-NN run")
    parser.add_argument("--out", type=Path, required=True, help="the file to write (.safetensors)")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    out = args.out
    if out.suffix != ".safetensors" or artifacts.kept_path(out) is not None:
        raise UsageError(
            "a decoder is not handed over there",
            expected="a name that ends in .safetensors, outside of a results folder",
            found=out,
        )
    rows = handover(args.decoder, out)
    log.info("handover: %s holds the features of its %d training samples", out, rows)


def handover(decoder: Path, out: Path) -> int:
    """Write the copy; return how many training samples it holds."""
    from visionfm.tasks.vectors.decoder import load_own

    spec, tensors = Spec.load(decoder)
    if tensors.pop(NAMED, None) is None:
        raise UsageError("this decoder stands alone already", where=decoder, do="copy the file")
    head: Any = load_own(decoder).network.head
    tensors[HELD] = head.rows_NF.numpy()
    metadata = artifacts.read_metadata(decoder)
    extra = {**spec.metadata(), **{name: metadata[name] for name in FROM_ITS_RUN if name in metadata}}
    made_by = artifacts.provenance("train", {}, {"decoder": metadata["payload_sha256"]})
    artifacts.write_tensors(out, tensors, made_by, schema=Spec.SCHEMA, extra=extra)
    return len(tensors[HELD])
