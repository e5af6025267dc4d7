"""Seeds for each use of a run's seed, so that no random number depends on what was drawn before it."""

import hashlib


def derived_seed(seed: int, *what: object) -> int:
    """Return a seed of 63 bits for one use of a run's seed."""
    return int.from_bytes(hashlib.sha256(repr((seed, *what)).encode()).digest()[:8], "big") >> 1
