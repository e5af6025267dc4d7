"""Splits hold still: what moves when data grow is bounded, and nothing is ever divided."""

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from visionfm.data.splits import connected, cut, draw, people

THOROUGH = settings(max_examples=150, deadline=None)
FRACTIONS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 5)
STRATA = st.sampled_from(["a", "b", None])
GROUPS = st.dictionaries(st.integers(0, 999).map(lambda number: f"s{number}"), STRATA, min_size=1, max_size=25)


def drawn(groups: dict[str, Any], test: float | None, validation: float, seed: int) -> dict[str, str]:
    """The split of each of the groups, one row per group, none given."""
    names = sorted(groups)
    found = draw(
        [[name, f"bytes of {name}"] for name in names],
        [None] * len(names),
        [groups[name] for name in names],
        validation=validation,
        test=test,
        seed=seed,
    )
    return dict(zip(names, found, strict=True))


def moved(before: dict[str, str], after: dict[str, str], strata: dict[str, Any]) -> dict[Any, list[int]]:
    """For each stratum: how many groups crossed into or out of test, and how many between train and validation."""
    counts: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            counts[strata[name]][0 if "test" in (before[name], after[name]) else 1] += 1
    return counts


# --- components -----------------------------------------------------------------------------------------------------


def test_rows_that_share_a_key_are_connected_through_others() -> None:
    numbers = connected([["s1", "x"], ["s2", "y"], ["s1", "y"], ["s3", "z"]])
    assert numbers[0] == numbers[1] == numbers[2] != numbers[3]


@THOROUGH
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(10, 18)), max_size=20))
def test_components_are_those_of_the_graph(rows: list[tuple[int, int]]) -> None:
    numbers = connected(rows)
    components = [{key for key in row} for row in rows]
    for _ in rows:  # closes the sets over shared keys
        for one in components:
            for other in components:
                if one & other:
                    one |= other
    for i, one in enumerate(components):
        for j, other in enumerate(components):
            assert (numbers[i] == numbers[j]) == bool(one & other)


@THOROUGH
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 12), st.sampled_from(["", ":0", ":1"])), max_size=25)
)
def test_a_person_is_the_first_of_all_subjects_whose_files_connect_them(rows: list[tuple[str, int, str]]) -> None:
    subjects = [subject for subject, _, _ in rows]
    number = connected([[subject, file] for subject, file, _ in rows])
    first = {one: min(s for s, other in zip(subjects, number, strict=True) if other == one) for one in number}
    assert people(subjects, [f"{file}{frame}" for _, file, frame in rows]) == [first[one] for one in number]


# --- one cut --------------------------------------------------------------------------------------------------------


@THOROUGH
@given(GROUPS, FRACTIONS, SEEDS)
def test_a_cut_takes_its_fraction_and_leaves_no_stratum_of_two_empty(
    groups: dict[str, Any], fraction: float, seed: int
) -> None:
    taken = cut(groups, fraction, seed)
    for stratum in set(groups.values()):
        members = {name for name in groups if groups[name] == stratum}
        count = len(taken & members)
        assert abs(count - fraction * len(members)) <= 1
        if len(members) >= 2:
            assert 1 <= count < len(members)


@THOROUGH
@given(GROUPS, st.text(max_size=5), STRATA, FRACTIONS, SEEDS)
def test_a_new_group_moves_at_most_one_other_and_only_in_its_stratum(
    groups: dict[str, Any], name: str, stratum: Any, fraction: float, seed: int
) -> None:
    before = cut(groups, fraction, seed)
    after = cut({**groups, f"new {name}": stratum}, fraction, seed)
    changed = (before ^ after) - {f"new {name}"}
    assert len(changed) <= 1 and all(groups[other] == stratum for other in changed)


# --- the draw of all three splits -----------------------------------------------------------------------------------


@THOROUGH
@given(GROUPS, STRATA, st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_one_more_subject_moves_at_most_one_other_across_each_boundary(
    groups: dict[str, Any], stratum: Any, test: float | None, validation: float, seed: int
) -> None:
    before = drawn(groups, test, validation, seed)
    after = drawn({**groups, "new": stratum}, test, validation, seed)
    counts = moved(before, after, groups)
    assert set(counts) <= {stratum}
    assert all(across_test <= 1 and within_training <= 1 for across_test, within_training in counts.values())


@THOROUGH
@given(GROUPS, st.data(), st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_a_corrected_label_moves_at_most_one_other_across_each_boundary_of_either_stratum(
    groups: dict[str, Any], data: st.DataObject, test: float | None, validation: float, seed: int
) -> None:
    name, stratum = data.draw(st.sampled_from(sorted(groups))), data.draw(STRATA)
    before = drawn(groups, test, validation, seed)
    after = drawn({**groups, name: stratum}, test, validation, seed)
    if groups[name] == stratum:
        assert before == after
    others = {other: split for other, split in before.items() if other != name}
    counts = moved(others, after, groups)
    assert set(counts) <= {groups[name], stratum}
    assert all(across_test <= 1 and within_training <= 1 for across_test, within_training in counts.values())


@THOROUGH
@given(GROUPS, st.data(), st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_one_more_image_of_a_subject_moves_nothing(
    groups: dict[str, Any], data: st.DataObject, test: float | None, validation: float, seed: int
) -> None:
    name = data.draw(st.sampled_from(sorted(groups)))
    names = sorted(groups)
    keys = [[one, f"bytes of {one}"] for one in names]
    strata = [groups[one] for one in names]
    rules = {"validation": validation, "test": test, "seed": seed}
    before = draw(keys, [None] * len(keys), strata, **rules)
    at = data.draw(st.integers(0, len(names)))
    keys.insert(at, [name, data.draw(st.sampled_from(["aaa", "zzz"]))])
    strata.insert(at, groups[name])
    after = draw(keys, [None] * len(keys), strata, **rules)
    assert after.pop(at) == before[names.index(name)]
    assert after == before


ROWS = st.lists(
    st.tuples(
        st.integers(0, 8).map(lambda n: f"s{n}"),  # subject
        st.integers(0, 12).map(lambda n: f"b{n}"),  # bytes
        st.sampled_from([None, None, "train"]),  # given
        STRATA,
    ),
    min_size=1,
    max_size=25,
)


def whole(rows: list[tuple[Any, ...]], given_: list[str | None], **rules: Any) -> list[str]:
    return draw([row[:2] for row in rows], given_, [row[3] for row in rows], **rules)


@THOROUGH
@given(ROWS, st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_subjects_and_equal_bytes_are_never_divided(
    rows: list[tuple[Any, ...]], test: float | None, validation: float, seed: int
) -> None:
    found = whole(rows, [row[2] for row in rows], validation=validation, test=test, seed=seed)
    splits: dict[str, set[str]] = defaultdict(set)
    for row, split in zip(rows, found, strict=True):
        splits[row[0]].add(split)
        splits[row[1]].add(split)
    assert all(len(split) == 1 for split in splits.values())


@THOROUGH
@given(ROWS, st.sampled_from(["train", "validation", "test"]), st.none() | FRACTIONS, FRACTIONS, SEEDS, st.data())
def test_a_row_without_a_split_stays_with_its_subject(
    rows: list[tuple[Any, ...]], split: str, test: float | None, validation: float, seed: int, data: st.DataObject
) -> None:
    """One subject's rows are given, or given in part; the group of the subject stands in one split all the same."""
    number = connected([row[:2] for row in rows])
    chosen = data.draw(st.sampled_from(number))
    some = [data.draw(st.booleans()) for _ in rows]
    given_ = [split if number[i] == chosen and some[i] else None for i in range(len(rows))]
    found = whole(rows, given_, validation=validation, test=test, seed=seed)
    assert len({found[i] for i in range(len(rows)) if number[i] == chosen}) == 1


@THOROUGH
@given(ROWS, st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_given_splits_are_kept_but_for_training_rows_drawn_for_validation(
    rows: list[tuple[Any, ...]], test: float | None, validation: float, seed: int
) -> None:
    given_ = [[None, "train", "test"][len(row[0] + row[1]) * int(row[0][1:]) % 3] for row in rows]
    found = whole(rows, given_, validation=validation, test=test, seed=seed)
    for own, split in zip(given_, found, strict=True):
        assert own is None or split == own or (own, split) == ("train", "validation")


@THOROUGH
@given(ROWS, st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_nothing_is_drawn_for_validation_where_the_data_give_it(
    rows: list[tuple[Any, ...]], test: float | None, validation: float, seed: int
) -> None:
    given_: list[str | None] = ["validation", *[None] * (len(rows) - 1)]
    found = whole(rows, given_, validation=validation, test=test, seed=seed)
    number = connected([row[:2] for row in rows])
    assert all((split == "validation") == (number[i] == number[0]) for i, split in enumerate(found))


@THOROUGH
@given(GROUPS, st.none() | FRACTIONS, FRACTIONS, SEEDS)
def test_validation_and_training_are_never_empty_where_a_stratum_has_two_groups_left(
    groups: dict[str, Any], test: float | None, validation: float, seed: int
) -> None:
    found = drawn(groups, test, validation, seed)
    left: dict[Any, set[str]] = defaultdict(set)
    for name, split in found.items():
        if split != "test":
            left[groups[name]].add(name)
    for names in left.values():
        if len(names) >= 2:
            assert {found[name] for name in names} == {"train", "validation"}


@THOROUGH
@given(ROWS, st.none() | FRACTIONS, FRACTIONS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: list[tuple[Any, ...]], test: float | None, validation: float, seed: int, random: Any
) -> None:
    rules = {"validation": validation, "test": test, "seed": seed}
    order = list(range(len(rows)))
    random.shuffle(order)
    found = whole(rows, [row[2] for row in rows], **rules)
    shuffled = whole([rows[i] for i in order], [rows[i][2] for i in order], **rules)
    assert shuffled == [found[i] for i in order]


def test_a_draw_is_the_same_in_every_release() -> None:
    """Numbers that stand: whoever changes them raises the version of stage `label`."""
    groups = {f"s{number}": number % 2 for number in range(20)}
    found = drawn(groups, 0.2, 0.2, 0)
    assert sorted(name for name, split in found.items() if split == "test") == ["s1", "s17", "s18", "s6"]
    assert sorted(name for name, split in found.items() if split == "validation") == ["s15", "s16", "s19", "s2"]


def test_another_seed_draws_others() -> None:
    groups = dict.fromkeys((f"s{number}" for number in range(40)), None)
    assert len({tuple(sorted(drawn(groups, 0.2, 0.2, seed).items())) for seed in range(10)}) == 10


def test_strata_are_spread_evenly() -> None:
    groups = {f"s{number}": "rare" if number < 10 else "common" for number in range(100)}
    found = drawn(groups, 0.2, 0.25, 3)
    for split, rare, common in (("test", 2, 18), ("validation", 2, 18), ("train", 6, 54)):
        names = [name for name in found if found[name] == split]
        assert sum(groups[name] == "rare" for name in names) == rare
        assert sum(groups[name] == "common" for name in names) == common
