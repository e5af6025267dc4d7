"""The matrix of faults names tests that exist; the readers of `make fuzz` each take a few cases."""

import re
import subprocess
import sys

import fuzz
import matrix
import pytest


def test_every_row_of_the_matrix_is_tried_by_tests_that_exist_or_says_why_not() -> None:
    numbers = {"C": 16, "A": 4, "I": 11, "L": 6, "M": 9, "S": 9}
    assert list(matrix.ROWS) == [f"{part}{n}" for part, last in numbers.items() for n in range(1, last + 1)]
    assert all(bool(row.tests) != bool(row.absent) for row in matrix.ROWS.values())
    assert matrix.missing() == []


def test_a_row_is_run_counted_and_printed() -> None:
    command = [sys.executable, matrix.__file__, "--rows", "S4", "C16", "-p", "no:cacheprovider"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert re.search(r"^\| S4 \|.*\| all \| \d+ \| \d+ \| 0 \|$", said, re.MULTILINE), said
    assert re.search(r"^\| C16 \|.*not run: ", said, re.MULTILINE), said


@pytest.mark.parametrize(
    "name", [name for name in fuzz.READERS if name not in ("volumes", "weights (.pth, safetensors)")]
)
def test_no_reader_is_wrong_about_a_few_damaged_files(name: str) -> None:
    row = fuzz.run(name, 20, seed=0, most=8)
    assert row.wrong == [] and row.tried == 8 == row.read + row.refused
