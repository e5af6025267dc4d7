"""Tables and volumes as no software should write them, drawn by a seed, and what reading them may end in.

`python tests/world/hostile_files.py 20000 2000` tries so many tables and files, and prints how they ended. Whatever is
neither read nor refused by a message, takes over 5 s or much memory is a fault.
"""

import csv
import io
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

MOST_S = 5.0
WORDS = ["patient", "file", "eye", "dr", "visit", "Split", "", "gr\u00fc\u00dfe", "\u773c", "a b", '"', "x" * 300, "1"]
CELLS = [
    *("", "0", "1", "2", "R", "L", "OD", "left", "train", "test", "NaN", "N/A", "-", ".", "#N/A", "=1+1", "1e400"),
    *("inf", "-0", "1_000", "\uff11\uff12", "\u00b2", "\u0663", "7O", "45,5", "21 mmHg", "05/03/2019", "2019-03-05"),
    *("31.02.2020", "V10", "\0", "0.png", "1.png", "a\\1.png", "../1.png", "/etc/passwd", "1.png#3", "{file}", "a\nb"),
    *(
        "'",
        '"',
        "\u202e",
        "\ud83d",
        "12.0",
        "0012",
        "e\u0301",
        "9" * 400,
        "x" * 3000,
        "\U0001f989",
        "True",
        "null",
        "[]",
    ),
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252", "latin-1", "shift_jis", "utf-7"]
Random = np.random.Generator


def pick(random: Random, values: Any) -> Any:
    return values[int(random.integers(len(values)))]


def table(random: Random) -> tuple[str, bytes]:
    """Return a name and the bytes of a table."""
    columns, count = int(random.integers(0, 9)), int(random.integers(0, 25))
    header = [pick(random, WORDS) for _ in range(columns)]
    if random.random() < 0.7:
        header = ["file", "patient", "eye", "dr", "visit", *header]
    tame = random.random() < 0.6
    header = header[:5] if tame else header
    rows = [[pick(random, CELLS[:10] if tame else CELLS) for _ in header] for _ in range(count)]
    for number, row in enumerate(rows):
        if header[:1] == ["file"] and random.random() < (1 if tame else 0.8):
            row[:5] = [f"{number}.png", f"p{number}", pick(random, "RL"), str(number % 3), f"2020-01-{number + 1:02}"]
    if not tame and random.random() < 0.4:
        rows = [row[: int(random.integers(0, len(row) + 1))] for row in rows]
    kind = pick(random, ["csv", "csv", "csv", "xlsx", "ods", "parquet"])
    if kind == "parquet":
        return "t.parquet", parquet(random, header, count)
    if kind != "csv":
        return f"t.{kind}", workbook(random, kind, header, rows)
    return pick(random, ["t.csv", "t.tsv", "t.xlsx"]), text(random, header, rows, tame=tame)


def text(random: Random, header: list[str], rows: list[list[str]], *, tame: bool) -> bytes:
    file = io.StringIO()
    separator, end = pick(random, ",;\t|" if tame else ",;\t|^"), pick(random, ["\n", "\r\n", "\r"])
    quoting = pick(random, [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
    before = "" if tame else pick(random, ["", "sep=;\n", "A title\n\n", "# of 2020\n", "\n\n"])
    writer.writerows([header, *rows])
    return (before + file.getvalue()).encode(pick(random, ENCODINGS[:3] if tame else ENCODINGS), "replace")


def workbook(random: Random, kind: str, header: list[str], rows: list[list[str]]) -> bytes:
    from world.workbooks import ods, xlsx

    values = [None, 1, 2.5, float(10**20), True, date(2020, 2, 3), "text"]
    mixed = [[cell if random.random() < 0.5 else pick(random, values) for cell in row] for row in [header, *rows]]
    clean = [[plain(cell) if isinstance(cell, str) else cell for cell in row] for row in mixed]
    sheets = {name: clean for name in ["One", "Two"][: int(random.integers(1, 3))]}
    return xlsx(sheets) if kind == "xlsx" else ods(sheets)


def plain(cell: str) -> str:
    return "".join(sign for sign in cell if sign.isprintable())


def parquet(random: Random, header: list[str], count: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: list[Callable[[int], Any]] = [
        lambda n: n, float, lambda n: None, lambda n: f"{n}.png", lambda n: n % 2 == 0, lambda n: b"\xff" * n,
        lambda n: datetime(2020, 1, 1 + n % 28), lambda n: Decimal(n), lambda n: [n, n], lambda n: {"a": n},
        lambda n: float("nan"),
    ]  # fmt: skip
    arrays = [pa.array([make(n) for n in range(count)]) for make in [pick(random, kinds) for _ in header]]
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, names=[plain(name) for name in header]), buffer)
    return buffer.getvalue()


@cache
def volumes() -> list[tuple[str, bytes]]:
    """Return a whole file of each format of volumes."""

    from world.dicom_files import TOMOGRAM, dicom
    from world.volume_files import e2e, encoded, nifti, npy, npz, topcon, vol

    stack = np.arange(3 * 20 * 24, dtype=np.uint8).reshape(3, 20, 24)
    colours = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    wide = stack.astype(np.uint16) * 257
    return [
        ("a.dcm", dicom(stack, kind=TOMOGRAM)), ("b.dcm", dicom(colours, "RGB")), ("c.dcm", dicom(wide[0])),
        ("d.vol", vol(stack / 255)), ("e.npy", npy(wide)), ("f.npz", npz(volume=stack)), ("g.nii", nifti(stack)),
        ("h.nii.gz", nifti(wide, packed=True)), ("i.fda", topcon(stack, photograph=colours)),
        ("j.fds", topcon(wide, "FDS")), ("k.e2e", e2e(wide)), ("l.jp2", encoded(colours)),
        ("m.xml", b"<HEDX><BODY><Patient><Study><Series><Image><ImageType><Type>OCT</Type></ImageType><ImageData>"
                  b"<ExamURL>x\\1.tif</ExamURL></ImageData></Image></Series></Study></Patient></BODY></HEDX>"),
    ]  # fmt: skip


def damaged(random: Random, data: bytes) -> bytes:
    """Return bytes that were flipped, cut, repeated, zeroed or made of the largest numbers in places."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        if not changed:
            break
        at = int(random.integers(min(len(changed), pick(random, [64, 700, len(changed)]))))
        how = int(random.integers(6))
        if how == 0:
            changed[at] = int(random.integers(256))
        elif how == 1:
            del changed[at:]
        elif how == 2:
            changed[at:at] = changed[at : at + int(random.integers(1, 200))]
        elif how == 3:
            changed[at : at + 4] = pick(random, [bytes(4), b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
        elif how == 4:
            changed[at : at + 200] = bytes(min(200, len(changed) - at))
        else:
            del changed[at : at + int(random.integers(1, 9))]
    return bytes(changed)


def read_as_check_does(root: Path, name: str, random: Random) -> str:
    """Return how reading a table of labels ended, as `visionfm check` and `label` read it."""
    from visionfm.data.label_rows import as_columns
    from visionfm.data.labels import draw_splits, labelled, subjects_of
    from visionfm.data.layouts.columns import Columns
    from visionfm.data.settings import LabelSettings
    from visionfm.data.tables.block import TableFile
    from visionfm.errors import DataError, Problems

    how = TableFile(file=name)
    if random.random() < 0.3:
        how = TableFile(file=name, header_row=pick(random, [None, 1, 2, [1, 2]]), encoding=pick(random, ENCODINGS),
                        separator=pick(random, [None, ";", "^"]), decimal=pick(random, ".,"),
                        short_rows=pick(random, ["fail", "unknown"]))  # fmt: skip
    columns: dict[str, Any] = {"image": pick(random, ["file", "file", "file", "{file}", "{dr:03d}.png"])}
    columns["targets"] = {"dr": "dr"}
    may = {"subject": "patient", "eye": "eye", "visit": pick(random, ["visit", {"column": "visit", "format": "%Y"}])}
    columns |= {role: column for role, column in may.items() if random.random() < 0.4}
    settings = LabelSettings(dataset="a", layout="table", table=how, columns=Columns.model_validate(columns))
    problems = Problems(DataError, "a")
    images = [f"{number}.png" for number in range(25)]
    try:
        rows = labelled(root, settings, images, [], None, problems)
        problems.raise_if_any(do="x")
        rows = rows.take([at for at, path in enumerate(rows.path) if path in images])
        subjects = subjects_of(rows, [""] * len(rows), settings)
        draw_splits(rows, subjects, rows.path, as_columns(rows), None, settings)
    except DataError as error:
        return f"refused: {type(error).__name__}"
    return "read"


def read_as_init_does(root: Path, name: str) -> str:
    """Return how `visionfm init` took a table."""
    from visionfm.errors import DataError
    from visionfm.project.init.tables import understand

    try:
        found = understand(root, name, [f"{number}.png" for number in range(25)])
    except DataError:
        return "init: refused"
    return (
        "init: a question" if isinstance(found, str) else "init: no table of images" if found is None else "init: read"
    )


def read_as_index_does(path: Path) -> str:
    """Return how a file of images was read, in the process that guards."""
    from visionfm.images.containers import container_of
    from visionfm.images.containers.container import Refused
    from visionfm.images.reading import REASONS, inspect_frames
    from visionfm.images.settings import Reading

    reasons = set()
    for one in inspect_frames(path, Reading(max_megapixels=1), 3):
        reasons.add(one.facts.status.split(":")[0])
        assert "MRN" not in one.facts.status and "Jane" not in one.facts.status, one.facts.status
    assert reasons <= {"ok", *REASONS}, reasons
    container = container_of(path.read_bytes())
    if container is not None and container.header is not None:
        try:
            container.header(path)
        except Refused:
            reasons.add("header refused")
    return f"{path.suffix}: " + ("read" if reasons == {"ok"} else "refused in part" if "ok" in reasons else "refused")


def attempt(what: Callable[[], str], ended: Counter[str], faults: list[str], name: str) -> None:
    """Count how one attempt ended; a traceback or a long wait is a fault."""
    start = time.process_time()
    try:
        ended[what()] += 1
    except Exception:
        faults.append(f"{name}: {traceback.format_exc(limit=-4)}")
    if (took := time.process_time() - start) > MOST_S:
        faults.append(f"{name}: {took:.1f} s")


def tables(first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Try tables of these seeds."""
    ended: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            random = np.random.default_rng(seed)
            name, data = table(random)
            (Path(folder) / name).write_bytes(damaged(random, data) if random.random() < 0.4 else data)
            attempt(lambda: read_as_check_does(Path(folder), name, random), ended, faults, f"table {seed}")  # noqa: B023
            if seed % 5 == 0:
                attempt(lambda: read_as_init_does(Path(folder), name), ended, faults, f"init {seed}")  # noqa: B023
    return ended, faults


def files(first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Try damaged volumes of these seeds."""
    ended: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, data in volumes():  # the reading process starts, and imports what it needs
            (Path(folder) / name).write_bytes(data)
            read_as_index_does(Path(folder) / name)
        for seed in range(first, first + count):
            random = np.random.default_rng(seed)
            name, data = pick(random, volumes())
            path = Path(folder) / name
            path.write_bytes(damaged(random, data))
            start = time.monotonic()
            attempt(lambda: read_as_index_does(path), ended, faults, f"{name} {seed}")  # noqa: B023
            if (waited := time.monotonic() - start) > MOST_S:
                ended[f"waited over {MOST_S:g} s"] += 1
                print(f"{name} {seed}: waited {waited:.1f} s", flush=True)
    return ended, faults


def main() -> None:
    """Try as many as the command line says."""
    from visionfm.images import guarded

    sys.path.insert(0, str(Path(__file__).parents[1]))
    for what, count in zip((tables, files), map(int, sys.argv[1:3]), strict=False):
        ended, faults = what(0, count)
        print(f"{what.__name__}: {count} tried, {len(faults)} faults")
        for how, times in sorted(ended.items()):
            print(f"  {how}: {times}")
        for fault in faults[:20]:
            print(fault)
    print(f"most memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    for process in guarded._running:
        status = Path(f"/proc/{process.pid}/status").read_text()
        print(f"of the one that reads: {int(re.findall('VmHWM:[^0-9]*([0-9]+)', status)[0]) / 1024:.0f} MB")


if __name__ == "__main__":
    main()
