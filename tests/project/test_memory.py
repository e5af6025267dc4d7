"""Jobs ask for the memory that their rows take, so that all attempts cannot die of one limit."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visionfm.features.settings import ExtractSettings
from visionfm.project.memory import FILE_TIMES, HELD, extract_mb, held_mb


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of a million rows."""
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"path": pa.nulls(1_000_000)}), path)
    return path


@pytest.mark.parametrize("stage", HELD)
def test_memory_grows_with_the_rows_of_all_tables(table: Path, stage: str) -> None:
    held = HELD[stage]
    assert held_mb(stage, [str(table)]) == held.beside_mb + held.row_bytes
    assert held_mb(stage, [str(table), str(table)], processes=4) == held.beside_mb + 8 * held.row_bytes


def test_caches_of_vectors_count_by_their_size_and_those_of_tokens_where_all_are_held(tmp_path: Path) -> None:
    for name in ("d.cls224.h5", "d.dense512.h5"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(10**10)
    files = [str(path) for path in tmp_path.iterdir()]
    assert held_mb("train", files) == 1_000 + 32_000
    assert held_mb("train", files, tokens=True) == 1_000 + 64_000


def test_what_is_not_there_yet_or_no_table_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    assert held_mb("label", [str(tmp_path / "gone.parquet"), str(tmp_path / "broken.parquet")]) == 500
    assert extract_mb(ExtractSettings(), str(tmp_path / "gone.parquet")) == 2_000


def test_extract_asks_for_its_file_in_all_views(table: Path) -> None:
    settings = ExtractSettings(views=["identity", "h", "v", "hv"], max_rows=1_000_000)
    assert extract_mb(settings, str(table)) == pytest.approx(2_000 + FILE_TIMES * 4 * 5 * 1024 * 2, abs=1)
