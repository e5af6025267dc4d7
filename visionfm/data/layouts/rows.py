"""What label files of all layouts share: a labelled image, when labels are the same, and the lines of a text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionfm.data.tables.cells import is_number
from visionfm.errors import Problems

Value = float | str | None


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
