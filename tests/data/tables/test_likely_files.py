"""A file that a table misspells is named with the one that it is most like: the same one in every run."""

from pathlib import PurePosixPath

from visionfm.data.tables.paths import MOST_COMPARED, Files


def test_of_more_files_than_are_compared_the_first_by_name_are() -> None:
    names = [f"{number:06}.png" for number in range(2 * MOST_COMPARED)]
    found = [Files(order, PurePosixPath("/data")).like("00012x.png") for order in (names, names[::-1])]
    assert found[0] == found[1] != ""
