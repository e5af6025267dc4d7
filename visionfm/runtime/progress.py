"""Progress for people: a bar on a terminal, a sparse line every half minute in a log file."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

LINE_EVERY_S = 30.0
log = logging.getLogger("visionfm")
T = TypeVar("T")


def track(items: Iterable[T], *, total: int, what: str, unit: str = "images", weight: int = 1) -> Iterator[T]:
    """Yield `items`, showing how far it is, the rate and the time left.

    `total` counts units; each item stands for `weight` of them (a batch of images, say).
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True) as bar:
            for item in items:
                yield item
                bar.update(min(weight, total - bar.n))
        return
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done = min(total, done + weight)
        now = time.monotonic()
        if now - last >= LINE_EVERY_S and done:
            last = now
            rate = done / (now - started)
            log.info(
                "%s: %d of %d %s, %.1f %s/s, %.0f s left", what, done, total, unit, rate, unit, (total - done) / rate
            )
