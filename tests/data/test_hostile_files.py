"""Whatever a table or a file of images holds: it is read, or refused by a message, soon and without a traceback."""

import pytest
from world import hostile_files

FAULTY_ONCE = (2670, 11731)  # texts that are no UTF-8, dates that are none, in Parquet


def test_tables_as_no_software_should_write_them_are_read_or_refused() -> None:
    ended, faults = hostile_files.tables(0, 150)
    assert faults == [] and ended["read"] > 2 and ended["refused: DataError"] > 50
    for seed in FAULTY_ONCE:
        assert hostile_files.tables(seed, 1)[1] == []


def test_damaged_volumes_are_read_or_refused() -> None:
    ended, faults = hostile_files.files(0, 40)
    assert faults == [] and sum(ended.values()) == 40


@pytest.mark.slow
def test_so_are_20000_tables_and_2000_volumes() -> None:
    assert hostile_files.tables(0, 20_000)[1] == [] and hostile_files.files(0, 2_000)[1] == []
