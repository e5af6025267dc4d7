"""A small table that unpacks to many times its bytes is refused before it is unpacked, or in bounded memory."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from world.workbooks import xlsx

from visionfm.data.tables import reading
from visionfm.data.tables.block import TableFile
from visionfm.errors import DataError, Problems


def parquet(columns: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def repeated(value: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int8)), pa.array([value]))


def workbook() -> bytes:
    """A sheet of 300 MB of spaces in 300 KB."""
    sink = io.BytesIO()
    small = zipfile.ZipFile(io.BytesIO(xlsx({"One": [["file", "dx"], ["1.png", 1]]})))
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as large:
        for name in small.namelist():
            with large.open(name, "w") as part:
                part.write(small.read(name))
                for _ in range(300 if name.endswith("s1.xml") else 0):
                    part.write(b" " * 1_000_000)
    return sink.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "cells.parquet": (lambda: parquet({"file": repeated("1.png", 60_000_000)}), "over 50,000,000 cells"),
    "rows.parquet": (lambda: parquet({"file": repeated("1.png", 10_000_000)}), "claim to hold 10,000,000 rows"),
    "text.parquet": (lambda: parquet({"file": ["x" * 100_000_000], "dx": [1]}), "claim to hold 1 rows, 100,000"),
    "sheet.xlsx": (workbook, "bytes that unpack to 300,"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_unpacks_to_many_times_its_bytes_is_refused(name: str, tmp_path: Path) -> None:
    make, said = BOMBS[name]
    (tmp_path / name).write_bytes(make())
    problems = Problems(DataError, name)
    assert reading.read_table(tmp_path / name, TableFile(file=name), ["file"], problems) is None
    assert len(problems) == 1 and said in problems.found[0], problems.found


@pytest.mark.slow
def test_what_claims_little_and_takes_much_is_refused_at_the_limit_of_memory(tmp_path: Path) -> None:
    """One text of 10 MB, in each of 2,000 rows: 20 GB."""
    (tmp_path / "t.parquet").write_bytes(parquet({"file": repeated("x" * 10_000_000, 2000), "dx": np.zeros(2000)}))
    problems = Problems(DataError, "t")
    assert reading.read_table(tmp_path / "t.parquet", TableFile(file="t.parquet"), ["file"], problems) is None
    assert "unpacks to over 4 GB in memory" in problems.found[0]
    assert "too many columns: keep those that are needed" in problems.found[0]
