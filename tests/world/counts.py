"""How often a fault is tried: a sample in the ordinary tests; with FAULTS=1 as often as the matrix of faults wants.

`make test-faults FAULTS=0.05` sets it (tests/faults/matrix.py).
"""

import os

SCALE = float(os.environ.get("FAULTS") or 0)


def times(wanted: int, sample: int) -> int:
    """Return how often to try what the matrix wants tried so often."""
    return max(sample, round(SCALE * wanted))
