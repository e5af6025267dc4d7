"""What stages' command lines share: files by the name of what they are of, `DATASET=FILE`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from visionfm.artifacts.artifact import payload_digest
from visionfm.errors import UsageError


def by_dataset(pairs: Iterable[str]) -> dict[str, list[Path]]:
    """Return the files of each dataset from `DATASET=FILE` arguments."""
    return by_name(pairs, "DATASET")


def by_name(pairs: Iterable[str], what: str) -> dict[str, list[Path]]:
    """Return the files of each name from `NAME=FILE` arguments; `what` is named, for the error."""
    files: dict[str, list[Path]] = defaultdict(list)
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise UsageError("a file does not say whose it is", expected=f"{what}=FILE", found=pair)
        files[name].append(Path(path))
    return dict(files)


def digests_of(files: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """Return the payload digests of each name's files, as inputs of a stage, in whatever order they were given."""
    return {
        f"{name}.{number}": digest
        for name, paths in files.items()
        for number, digest in enumerate(sorted(payload_digest(path) for path in paths))
    }


def check_given(flag: str, needed: Iterable[str], given: Collection[str]) -> None:
    """Raise UsageError naming the datasets that a flag does not give a file (or folder) for."""
    if missing := [name for name in dict.fromkeys(needed) if name not in given]:
        raise UsageError(
            f"{flag} lacks datasets",
            expected=f"{flag} {' '.join(f'{name}=...' for name in missing)}",
            found=", ".join(given) or "none",
        )
