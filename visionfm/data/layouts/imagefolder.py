"""Layout `imagefolder`: a folder per class; above these, or not, a folder per split (train, val, test)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm.data.layouts.folders import SPLIT_NAMES
from visionfm.data.layouts.layout import Block, Layout, no_table
from visionfm.data.layouts.rows import LabelRow
from visionfm.errors import Problems

LABEL = "label"  # the name of the folders' classes, where the block gives no other


def _problems(block: Block) -> Iterator[str]:
    if isinstance(block.labels, list) and len(block.labels) != 1:
        yield "layout imagefolder has one label, the folder's name: `labels: [name]`"
    yield from no_table(block)


def _split_of(path: str) -> str | None:
    folder, slash, _ = path.partition("/")
    return SPLIT_NAMES.get(folder.lower()) if slash else None


def _rows(
    _root: Path, block: Block, listed: list[str], _partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    tops = {path.split("/")[0] for path in listed}
    named = sorted(top for top in tops if top.lower() in SPLIT_NAMES)
    divided = bool(named)
    if named and len(named) < len(tops):
        others = ", ".join(sorted(tops - set(named))[:5])
        problems.add(f"expected split folders only, or class folders only; found {', '.join(named)} beside {others}")
        return
    name = block.labels[0] if isinstance(block.labels, list) else LABEL
    for path in listed:
        parts = path.split("/")
        if len(parts) < (3 if divided else 2):
            problems.add(f"{path}: expected {'split/' if divided else ''}class/file, found no class folder")
            continue
        yield LabelRow(path, path, {name: parts[1 if divided else 0]}, split=_split_of(path) if divided else None)


IMAGEFOLDER = Layout("imagefolder", _problems, _rows, split_of=_split_of, default_labels=(LABEL,))
