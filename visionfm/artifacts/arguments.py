"""What stages' command lines share: files by dataset, `DATASET=FILE`."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from visionfm.errors import UsageError


def by_dataset(pairs: Iterable[str]) -> dict[str, list[Path]]:
    """Return the files of each dataset from `DATASET=FILE` arguments."""
    files: dict[str, list[Path]] = defaultdict(list)
    for pair in pairs:
        dataset, equals, path = pair.partition("=")
        if not (dataset and equals and path):
            raise UsageError("a file does not say whose it is", expected="DATASET=FILE", found=pair)
        files[dataset].append(Path(path))
    return dict(files)
