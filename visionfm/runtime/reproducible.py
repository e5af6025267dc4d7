"""Arithmetic that gives the same bits each time: threads, algorithms, float32 precision. torch is imported inside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from visionfm.errors import UsageError


def check_device(device: str) -> None:
    """Raise UsageError where a GPU is asked for and there is none; call it before anything is computed."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on a GPU
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no GPU", expected="CUDA", found="none", do="set `device: cpu`")


@contextmanager
def reproducible(threads: int = 1) -> Iterator[None]:
    """Fix threads, algorithms and float32 precision while the block runs; leave torch's own state as it was found.

    The last bits of a matrix product can depend on the number of threads, and a decoder's bytes must not.
    """
    import torch

    found, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.set_num_threads(threads)
    # `use_deterministic_algorithms` does the same, and loads torch's compiler to tell it so.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(found)
        torch.set_deterministic_debug_mode(deterministic)
        torch.backends.cuda.matmul.allow_tf32 = tf32
