"""Progress for people: a bar on a terminal, a sparse line every half minute in a log file."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

LINE_EVERY_S = 30.0
log = logging.getLogger("visionfm")
T = TypeVar("T")


class Waits:
    """How long whoever computes has waited for its data: much of it asks for more `workers`, or a pack."""

    def __init__(self) -> None:
        """Nothing has been waited for yet."""
        self.seconds = 0.0

    def counted(self, items: Iterable[T]) -> Iterator[T]:
        """Yield `items`, and count how long each was waited for."""
        source = iter(items)
        while True:
            started = time.monotonic()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self.seconds += time.monotonic() - started
            yield item

    def share(self, elapsed_s: float) -> str:
        """Return them as a part of the time that has passed."""
        return f"{100 * min(1.0, self.seconds / elapsed_s):.0f} % waiting for images" if elapsed_s > 0 else ""


def track(
    items: Iterable[T], *, total: int, what: str, unit: str = "images", weight: int = 1, waits: Waits | None = None
) -> Iterator[T]:
    """Yield `items`, showing how far it is, the rate and the time left; with `waits` also how much of it was waiting.

    `total` counts units; each item stands for `weight` of them (a batch of images, say).
    """
    started = last = time.monotonic()
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True) as bar:
            for item in items:
                yield item
                bar.update(min(weight, total - bar.n))
                if waits is not None:
                    bar.set_postfix_str(waits.share(time.monotonic() - started), refresh=False)
        return
    done = 0
    for item in items:
        yield item
        done = min(total, done + weight)
        now = time.monotonic()
        if now - last >= LINE_EVERY_S and done:
            last = now
            rate = done / (now - started)
            waiting = "" if waits is None else f", {waits.share(now - started)}"
            log.info(
                "%s: %d of %d %s, %.1f %s/s, %.0f s left%s",
                *(what, done, total, unit, rate, unit, (total - done) / rate, waiting),
            )
