"""Folds: every person is tested once, nobody stands on two sides, and data that grow move few or nobody."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionfm.data import splits
from visionfm.errors import DataError
from visionfm.tasks.folding import folded
from visionfm.tasks.settings import FoldSettings, FuseSettings, LabelledTarget

GROUPS = st.dictionaries(st.integers(0, 999).map(lambda n: f"s{n}"), st.sampled_from(["a", "b"]), min_size=1)
BINARY = LabelledTarget(type="binary", column="sick", classes=["no", "yes"], values=[[0], [1]])


def fuse_settings(number: int, *, folds: int = 3, stratify: bool = True, repeat: int = 0) -> FuseSettings:
    fold = FoldSettings(number=number, repeat=repeat, folds=folds, validation=0.2, stratify=stratify, seed=0)
    return FuseSettings(
        kind="classification",
        datasets={"d": "Fundus"},
        modalities=["Fundus"],
        targets={"sick": BINARY},
        fold=fold,
    )


def samples(people: dict[str, float], external: int = 2, eyes: int = 2):
    rows = [
        {"sample_id": f"d/{person}{eye}", "subject_id": person, "split": "train", "sick": sick}
        for person, sick in people.items()
        for eye in range(eyes)
    ]
    rows += [{"sample_id": f"x/{n}", "subject_id": f"x{n}", "split": "test", "sick": 1.0} for n in range(external)]
    for row in rows:
        row["images"] = [{"image_id": f"bytes of {row['sample_id']}"}]
    return pa.Table.from_pylist(rows)


PEOPLE = {f"s{n}": float(n % 5 == 0) for n in range(40)}


def parts(table, settings) -> dict[str, str]:
    found = folded(table, settings)
    by_sample = dict(zip(found["sample_id"].to_pylist(), found["split"].to_pylist(), strict=True))
    return {name: by_sample[name] for name in by_sample if not name.startswith("x/")}


def test_each_sample_is_tested_in_one_fold_and_its_people_stand_on_one_side_of_each():
    table = samples(PEOPLE)
    tested = Counter()
    for number in range(3):
        found = folded(table, fuse_settings(number))
        split_of = dict(zip(found["sample_id"].to_pylist(), found["split"].to_pylist(), strict=True))
        assert {split_of["x/0"], split_of["x/1"]} == {"test"}  # external data are test only, in every fold
        tested.update(name for name, split in split_of.items() if split == "test")
        assert all(split_of[f"d/{person}0"] == split_of[f"d/{person}1"] for person in PEOPLE)
        assert set(split_of.values()) == {"train", "validation", "test"}
    assert {count for name, count in tested.items() if not name.startswith("x/")} == {1}
    assert tested["x/0"] == 3


def test_each_fold_has_its_share_of_the_rare_class():
    for number in range(3):
        tested = [name for name, split in parts(samples(PEOPLE), fuse_settings(number)).items() if split == "test"]
        sick = sum(PEOPLE[name[2:-1]] for name in tested if name.endswith("0"))
        assert sick in (2, 3)  # of 8


def test_repeats_are_other_draws():
    first, second = (parts(samples(PEOPLE), fuse_settings(0, repeat=repeat)) for repeat in (0, 1))
    assert first != second


@settings(max_examples=100, deadline=None)
@given(GROUPS, st.integers(2, 6), st.sampled_from(["a", "b"]))
def test_a_new_person_moves_at_most_one_other_over_each_cut(groups, count, stratum):
    before = splits.folds(groups, count, 0)
    after = splits.folds({**groups, "new": stratum}, count, 0)
    sizes = Counter((groups[name], fold) for name, fold in before.items())
    for name in set(groups.values()):
        of_stratum = [sizes[name, fold] for fold in range(count)]
        assert max(of_stratum) - min(of_stratum) <= 1
    moved = [name for name in groups if before[name] != after[name]]
    assert all(groups[name] == stratum for name in moved)
    assert len(moved) <= count - 1


def test_a_new_image_moves_nobody_and_without_strata_neither_does_a_new_person():
    more = samples({**PEOPLE, "new": 1.0})
    for number in range(3):
        strict = fuse_settings(number, stratify=False)
        before, after = parts(samples(PEOPLE), strict), parts(more, strict)
        test = {name for name, split in before.items() if split == "test"}
        assert test == {name for name, split in after.items() if split == "test"} - {"d/new0", "d/new1"}
        own = fuse_settings(number)
        assert parts(samples(PEOPLE), own).items() <= parts(samples(PEOPLE, eyes=3), own).items()


def test_a_file_that_two_people_share_is_an_error_where_they_were_not_joined():
    table = samples(PEOPLE, external=0)
    same = [[{"image_id": "one file"}]] * table.num_rows
    table = table.set_column(table.column_names.index("images"), "images", pa.array(same))
    with pytest.raises(DataError, match="stand in two parts in fold0"):
        folded(table, fuse_settings(0))


def test_more_folds_than_people_are_an_error():
    with pytest.raises(DataError, match="nobody is left for"):
        for number in range(5):
            folded(samples({"a": 1.0, "b": 0.0}), fuse_settings(number, folds=5))
