"""Patch tokens of images of which every second one has a sign in one patch, and their cache as `dense` writes it."""

from pathlib import Path

import numpy as np

from visionfm import artifacts
from visionfm.features.rows import Names
from visionfm.features.token_cache import write_dense
from world.decoder_data import IDENTITY

LEVELS, PATCHES, WIDTH = 2, 49, 24


def lesions(count: int, seed: int, strength: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of noise in which every second image has one patch, somewhere, with a sign of its own."""
    rng = np.random.default_rng(seed)
    tokens_NLPD = rng.normal(size=(count, LEVELS, PATCHES, WIDTH)).astype(np.float32)
    sick_N = rng.permutation(np.arange(count) % 2)
    sign_D = rng.normal(size=WIDTH)
    sign_D *= strength / np.linalg.norm(sign_D)
    for n in np.flatnonzero(sick_N):
        tokens_NLPD[n, -1, rng.integers(PATCHES)] += sign_D
    return tokens_NLPD, sick_N


def write_tokens(path: Path, tokens_NLPD: np.ndarray, streamed: bool = False) -> Path:
    names = [f"{n:04}.png" for n in range(len(tokens_NLPD))]
    rows = [(n, 0, row) for n, row in enumerate(tokens_NLPD)]
    listed = Names([], [], ("identity",)) if streamed else Names(names, [f"{n:0>64}" for n in names], ("identity",))
    made_by = artifacts.provenance("dense", {}, {})
    write_dense(path, listed, tokens_NLPD.shape[1:], [] if streamed else rows, IDENTITY, made_by, streamed=streamed)
    return path
