"""What image files say of themselves in their headers (DICOM): as columns, and held against what the table says.

A laterality that contradicts the table is an error. So is another person or date, where the table's are plainly those
of the headers: in at least half of the images they agree.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from visionfm.config.nearest import unknown
from visionfm.data import spelling
from visionfm.data.layouts.columns import Columns, EyeColumn, of_file
from visionfm.data.layouts.folders import HEAD_BYTES
from visionfm.data.layouts.rows import LabelColumns, LabelRow
from visionfm.data.tables.cells import coded, number, read_eye
from visionfm.errors import Problems
from visionfm.images.containers import CONTAINERS, Container, container_of
from visionfm.images.containers.container import Refused
from visionfm.images.identity import AFTER_PATH
from visionfm.images.parallel import in_order
from visionfm.runtime.progress import track

SILENT = frozenset(suffix[1:] for one in CONTAINERS if one.header is None for suffix in one.suffixes)
BY_NAME = {one.name: one for one in CONTAINERS}
READERS, PIECE, FEW = 4, 64, 1_000  # processes; files at a time; so few are read by this one
NOT_SAID = ("", "U")  # U: the eye is unknown


def read_headers(root: Path, labels: LabelColumns, columns: Columns, problems: Problems) -> None:
    """Fill rows with the columns that are read from headers, and note in `said` what the others could be held against.

    A damaged file is passed over: `index` says what is wrong with it.
    """
    wanted = columns.of_files()
    seen: set[str] = set()
    missed: set[str] = set()
    of_file_rows: dict[Path, list[int]] = defaultdict(list)  # a volume's slices have one header
    for at, path in enumerate(labels.path):
        if wanted or not _is_silent(path):
            of_file_rows[_file(root, path)].append(at)
    for file, container, header in track(_headers(list(of_file_rows)), total=len(of_file_rows), what="headers"):
        for at in of_file_rows[file]:
            row = labels[at]
            row.values |= dict.fromkeys(column for role, column in wanted.items() if role.startswith("targets."))
            for role, column in wanted.items():
                source = of_file(column)
                if source is None or container is source[0] or not file.is_file():
                    continue
                problems.add(f"{row.where}: {role} is {column}, and {row.path} is no {source[0].name} file")
            if header is not None:
                seen |= header.keys()
                for role, column in wanted.items():
                    source = of_file(column)
                    if source is None or container is not source[0]:
                        continue
                    if source[1] not in header:
                        missed.add(column)
                    _fill(row, role, column, header.get(source[1], ""), columns, problems)
                row.said = {role: header[role] for role in ("eye", "subject", "visit") if role not in wanted}
            labels.put(at, row)
    for column in sorted(missed):
        keyword = column.partition(".")[2]
        if keyword not in seen:  # in no file: a misspelled name
            problems.add(f"columns: {unknown(keyword, sorted(seen), 'attribute of the headers')}")


def _headers(files: Sequence[Path]) -> Iterator[tuple[Path, Container | None, Mapping[str, str] | None]]:
    """Yield each file with its format and its header; of many in processes, for a header takes 2 ms and a disk's wait.

    DataError where a format's library is not installed.
    """
    pieces = (files[at : at + PIECE] for at in range(0, len(files), PIECE))
    with closing(in_order(pieces, _read_headers, READERS if len(files) > FEW else 0)) as found:
        for piece, headers in found:
            for file, (name, header) in zip(piece, headers, strict=True):
                yield file, BY_NAME.get(name), header


def _read_headers(files: Sequence[Path]) -> list[tuple[str, Mapping[str, str] | None]]:
    """Return the name of the format (empty: unknown) and the header, if any, of each file."""
    found: list[tuple[str, Mapping[str, str] | None]] = []
    for file in files:
        container = _container(file)
        header = None if container is None or container.header is None else _header(container, file)
        found.append((container.name if container is not None else "", header))
    return found


def contradictions(labels: LabelColumns, columns: Columns, problems: Problems) -> None:
    """Note where a table, or a file's name, says another thing than the image's own header."""
    trusted = isinstance(columns.eye, EyeColumn) and columns.eye.trusted
    rows = [labels[at] for at, beside in sorted(labels.beside.items()) if "said" in beside]
    for row in rows:
        side = read_eye(row.said.get("eye", ""))
        if side is not None and row.eye is not None and side != row.eye and not trusted:
            problems.add(
                f"{row.where}: eye {row.eye}, and the header of {row.path} says {side}: correct the table, or believe "
                "it for all images by `columns: {eye: {column: ..., trusted: true}}`"
            )
    for role in ("subject", "visit"):
        both = [(row, getattr(row, role), row.said[role]) for row in rows if row.said.get(role) and getattr(row, role)]
        other = [row for row, told, said in both if _plain(told) != _plain(said)]
        if 0 < len(other) <= len(both) / 2:
            for row in other:  # no value is written: it may be a person's
                problems.add(
                    f"{row.where}: its {role} is not that in the header of {row.path}, as it is in "
                    f"{len(both) - len(other)} of {len(both)} images"
                )


def _plain(text: str) -> str:
    return spelling.written(text, "digits")


def _file(root: Path, path: str) -> Path:
    """Return the file that a row names, also where it names a frame of it."""
    file = root / path
    return root / path.rpartition(AFTER_PATH)[0] if AFTER_PATH in path and not file.is_file() else file


def _container(file: Path) -> Container | None:
    """Return the format of a file by its first bytes; None, at once, where its name tells of one without header."""
    if _is_silent(file.name):
        return None
    try:
        with file.open("rb") as opened:
            return container_of(opened.read(HEAD_BYTES))
    except OSError:
        return None  # `index` says what is wrong with it


def _is_silent(path: str) -> bool:
    """Tell whether a file's name tells of a format without header."""
    suffix = path.rpartition(".")[2]
    return suffix in SILENT or suffix.lower() in SILENT  # of a million paths nearly all end so


def _header(container: Container, file: Path) -> Mapping[str, str] | None:
    assert container.header is not None
    container.require()
    try:
        return container.header(file)
    except Refused:
        return None


def _fill(row: LabelRow, role: str, column: str, text: str, columns: Columns, problems: Problems) -> None:
    """Take one value over; nothing is guessed where a header does not say it."""
    if role.startswith("targets."):
        row.values[column] = text or None
    elif role == "subject":
        if not text:
            problems.add(f"{column}: expected a subject, found nothing", row.where)
        row.subject = text or None
    elif role == "visit":
        row.visit = text or None
    elif role == "eye" and text not in NOT_SAID:
        codes = columns.eye.values if isinstance(columns.eye, EyeColumn) else {}
        row.eye = coded(text, codes)[1] or read_eye(text)
        if row.eye is None:
            problems.add(f"{column}: expected R or L, found {text!r}", row.where)
    elif role == "mm_per_px" and text:
        row.mm_per_px = _size(row, column, text, problems)


def _size(row: LabelRow, column: str, text: str, problems: Problems) -> tuple[float, float] | None:
    """Return the size of a pixel in mm, (across, down); the standard has it as `down\\across`."""
    try:
        sides = [number(side) for side in text.split("\\")]
    except ValueError as error:
        problems.add(f"{row.where}: {column}: {error}")
        return None
    if len(sides) > 2 or min(sides) <= 0:
        problems.add(f"{column}: expected one or two sizes in mm, found {text!r}", row.where)
        return None
    return sides[-1], sides[0]
