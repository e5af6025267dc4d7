"""What label files of all layouts share: labelled images, by row and by column, and when labels are the same.

Invariant: the images of a table are never all objects at once; what is wrong in it is found by column, told by row.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from visionfm.data.tables.cells import is_number
from visionfm.data.tables.grid import Places
from visionfm.errors import Problems

Value = float | str | None
Cell = TypeVar("Cell", bound=Hashable)
Meaning = TypeVar("Meaning")


@dataclass(slots=True)
class LabelRow:
    """One labelled image; `where` is file and line for messages, `values` label -> raw value.

    `grades` are what several graders said of a target, `groups` what people are told apart by. `partners` are paths of
    masks by role (mask, mask2, fov), `array` that of landmarks; `points` are stored pixels, `mm_per_px` their size
    (across, down). `said` is what the image's file says of itself (eye, subject, visit) where these columns are read
    from elsewhere. `of_volume`: it is one slice of a file that was labelled as a whole, and so were its masks.
    """

    path: str
    where: str
    values: dict[str, Value] = field(default_factory=dict)
    grades: dict[str, list[Value]] = field(default_factory=dict)
    groups: dict[str, Value] = field(default_factory=dict)
    subject: str | None = None
    eye: str | None = None
    visit: str | None = None
    split: str | None = None
    partners: dict[str, str] = field(default_factory=dict)
    array: str | None = None
    points: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    mm_per_px: tuple[float, float] | None = None
    said: dict[str, str] = field(default_factory=dict)
    of_volume: bool = False


RARE = ("partners", "array", "points", "mm_per_px", "said", "of_volume")  # what most images have nothing of


@dataclass
class LabelColumns(Sequence[LabelRow]):
    """Labelled images by column, all of one length, in which equal texts are one object.

    As rows, a million of them would take two gigabytes. A row of it is made when asked for; a changed one is `put`
    back. `beside` are fields of RARE by the number of the row.
    """

    path: list[str] = field(default_factory=list)
    where: Sequence[str] = ()
    values: dict[str, list[Value]] = field(default_factory=dict)
    grades: dict[str, list[list[Value]]] = field(default_factory=dict)
    groups: dict[str, list[Value]] = field(default_factory=dict)
    subject: list[str | None] = field(default_factory=list)
    eye: list[str | None] = field(default_factory=list)
    visit: list[str | None] = field(default_factory=list)
    split: list[str | None] = field(default_factory=list)
    beside: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Say of what was not given that it is unknown."""
        for name in ("subject", "eye", "visit", "split"):
            if not getattr(self, name):
                setattr(self, name, [None] * len(self.path))

    @classmethod
    def of(cls, rows: Iterable[LabelRow]) -> "LabelColumns":
        """Return rows as columns."""
        if isinstance(rows, LabelColumns):
            return rows
        made = cls(where=[])
        for at, row in enumerate(rows):
            made.path.append(row.path)
            made.where.append(row.where)  # type: ignore[attr-defined]
            for column in (made.subject, made.eye, made.visit, made.split):
                column.append(None)
            for columns in (made.values, made.groups):
                for values in columns.values():
                    values.append(None)
            made.put(at, row)
        return made

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.path)

    def __getitem__(self, at: Any) -> Any:
        """Return a row, a copy; of a slice several."""
        if isinstance(at, slice):
            return [self[number] for number in range(len(self))[at]]
        at = range(len(self))[at]
        return LabelRow(
            self.path[at],
            self.where[at],
            {name: values[at] for name, values in self.values.items()},
            {name: values[at] for name, values in self.grades.items()},
            {name: values[at] for name, values in self.groups.items()},
            *(self.subject[at], self.eye[at], self.visit[at], self.split[at]),
            **self.beside.get(at, {}),
        )

    def __iter__(self) -> Iterator[LabelRow]:
        """Yield the rows one by one."""
        return (self[at] for at in range(len(self)))

    def put(self, at: int, row: LabelRow) -> None:
        """Take over what a row says."""
        self.path[at] = row.path
        self.subject[at], self.eye[at], self.visit[at], self.split[at] = row.subject, row.eye, row.visit, row.split
        for mine, its in ((self.values, row.values), (self.groups, row.groups)):
            for name, value in its.items():
                if name not in mine:
                    mine[name] = [None] * len(self)
                mine[name][at] = value
        for name, grades in row.grades.items():
            self.grades.setdefault(name, [])
            self.grades[name] += [[] for _ in range(at + 1 - len(self.grades[name]))]
            self.grades[name][at] = grades
        if beside := {name: value for name in RARE if (value := getattr(row, name))}:
            self.beside[at] = beside
        else:
            self.beside.pop(at, None)

    def take(self, rows: Sequence[int]) -> "LabelColumns":
        """Return some rows, in their order."""

        def of(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return {name: [values[at] for at in rows] for name, values in columns.items()}

        plain = {
            name: [getattr(self, name)[at] for at in rows] for name in ("path", "subject", "eye", "visit", "split")
        }
        where = self.where.take(rows) if isinstance(self.where, Places) else [self.where[at] for at in rows]
        beside = {new: self.beside[at] for new, at in enumerate(rows) if at in self.beside} if self.beside else {}
        columns = of(self.values), of(self.grades), of(self.groups)
        return LabelColumns(
            where=where, values=columns[0], grades=columns[1], groups=columns[2], beside=beside, **plain
        )


class Faults:
    """What is wrong in a table: found column by column, told row by row; words are made for what is wrong alone."""

    def __init__(self, where: Sequence[str]) -> None:
        """`where` are the places of the rows."""
        self.where = where
        self.found: list[tuple[int, str, str | None]] = []

    def add(self, row: int, problem: str, *, often: bool = False) -> None:
        """Note what is wrong in a row; what is `often` wrong in the same words is said once, for all its rows."""
        where = self.where[row]
        self.found.append((row, problem, where) if often else (row, f"{where}: {problem}", None))

    def tell(self, problems: Problems) -> None:
        """Note all of it, in order of the rows."""
        for _, problem, where in sorted(self.found, key=lambda one: one[0]):
            problems.add(problem, where)
        self.found.clear()

    def read(
        self, cells: Iterable[Cell], meaning: Callable[[Cell], Meaning], *, often: bool = False
    ) -> list[Meaning | None]:
        """Return what each cell means; each different one is read once. A ValueError is a fault of its rows.

        Such a cell means None. Equal cells have one and the same meaning, also as an object.
        """
        cells = cells if isinstance(cells, list) else list(cells)
        read: dict[Cell, Meaning | None] = dict.fromkeys(cells)
        wrong: dict[Cell, str] = {}
        for cell in read:
            try:
                read[cell] = meaning(cell)
            except ValueError as error:
                wrong[cell] = str(error)
        if wrong:
            for row, cell in enumerate(cells):
                if cell in wrong:
                    self.add(row, wrong[cell], often=often)
        return [read[cell] for cell in cells]


def of_parts(parts: Sequence[tuple[int, str]]) -> str:
    """Return what stands for a mask that is a file per structure: `//1=a.tif//2=b.tif`; `//` where no file is there.

    No path of a file has two slashes after each other. The same form holds the files' digests.
    """
    return "//" + "//".join(f"{value}={text}" for value, text in parts)


def parts_of(text: str | None) -> list[tuple[int, str]] | None:
    """Return the (value, path) of each structure's file; None of a mask that is one file, or none."""
    if text is None or not text.startswith("//"):
        return None
    parts = [part.partition("=") for part in text.removeprefix("//").split("//") if part]
    return [(int(value), path) for value, _, path in parts]


def comparable(value: Any) -> Any:
    """Return a label in a form in which the same labels are equal: 3, 3.0 and `3`, also true and 1."""
    if isinstance(value, str):
        return float(value) if is_number(value) else value
    return float(value) if isinstance(value, int | float) else value


def text_lines(file: Path, problems: Problems) -> list[str]:
    """Return the lines of a UTF-8 text, with or without BOM, LF or CRLF; blank ones at its end are left out."""
    if file.exists() and not file.is_file():
        problems.add(f"{file}: no regular file")
        return []
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8")
        return []
    if "\0" in text:
        problems.add(f"{file}: holds NUL bytes; it is no text file")
        return []
    text = text.rstrip("\n")  # blank lines at the end are no lines; splitlines() would cut at U+2028 and others too
    return text.split("\n") if text else []
