"""A config is read as meant or refused: every mistake at once, each with its line and the nearest key."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionfm.errors import ConfigError
from visionfm.project.config import Config
from visionfm.project.loading import load_config, parse_config

GOOD = """\
encoders:
  fundus: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224}
models:
  tiny: {Fundus: fundus}
datasets:
  a: {modality: Fundus, root: data/a, layout: vfm, labels: [dr, iop]}
tasks:
  t: {kind: classification, datasets: [a], models: [tiny], targets: {dr: {type: binary}}}
"""
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "config").rglob("*.yaml"))


def load(folder: Path, text: str) -> Config:
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    return load_config(folder / "c.yaml")


def problems(folder: Path, text: str) -> list[str]:
    """The problems of a config, without the path of its file."""
    with pytest.raises(ConfigError) as raised:
        load(folder, text)
    assert raised.value.exit_code == 2
    lines = [line.removeprefix("  - ") for line in str(raised.value).splitlines() if line.startswith("  - ")]
    return [line.replace(f"{folder}/c.yaml:", "") for line in lines]


def dataset(text: str) -> str:
    """The good config with more keys in its dataset."""
    return GOOD.replace("labels: [dr, iop]", f"labels: [dr, iop], {text}")


# --- YAML's traps ---------------------------------------------------------------------------------------------------


def test_a_good_config_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.encoders["fundus"].image_size == 224 and config.tasks["t"].seeds == [0]


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", ".001", "+1e-3", "1.0e-3"])
def test_numbers_with_exponents_are_numbers(text: str, tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("models: [tiny]", f"models: [tiny], training: {{lr: {text}}}"))
    assert config.tasks["t"].training.lr == 0.001


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("2020-01-02", "2020-01-02"),
        ("1e", "1e"),
        ("true", True),
        ("1", 1),
        ("-1", -1),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("1e400x", "1e400x"),
        ("'1'", "1"),
    ],
)
def test_scalars_are_what_a_reader_takes_them_for(text: str, value: object, tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("type: binary", f"type: binary, unknown: [{text}]"))
    found = config.tasks["t"].targets["dr"].unknown[0]
    assert found == value and type(found) is type(value)


def test_octals_and_no_do_not_become_numbers_or_false(tmp_path: Path) -> None:
    assert problems(tmp_path, dataset("frame: 010, max_megapixels: no")) == [
        "6: datasets.a.max_megapixels: expected a number, found 'no'",
        "6: datasets.a.frame: expected a whole number, or 'enface', found '010'",
    ]


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan"])
def test_infinity_and_nan_are_refused(text: str, tmp_path: Path) -> None:
    assert len(problems(tmp_path, dataset(f"max_megapixels: {text}"))) == 1


def test_keys_that_stand_twice_are_errors_at_any_depth(tmp_path: Path) -> None:
    text = GOOD.replace("modality: Fundus, root", "modality: Fundus, modality: OCT, root") + "tasks: {}\n"
    assert problems(tmp_path, text)[:2] == [
        "6: datasets.a.modality: stands twice; keep one",
        "9: tasks: stands twice; keep one",
    ]


def test_anchors_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    text = GOOD.replace("a: {", "base: &base {").replace("tasks:", "  a: {<<: *base, root: data/b}\ntasks:")
    config = load(tmp_path, text)
    assert (config.datasets["a"].root, config.datasets["a"].labels) == ("data/b", ["dr", "iop"])


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "x: " + "[" * 700 + "]" * 700,
        "x: !!python/object/apply:os.system [touch canary]",
        "x: !!python/name:os.system",
        "x: !include other.yaml",
        "x: [",
        "x: {a: b",
        "x: \x00",
        "? [a, b]\n: 3",
        "\tx: 1",
        "- a",
        "3",
        "---\na: 1\n---\nb: 2",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_no_config_is_refused_at_once(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert time.monotonic() - started < 5 and "c.yaml" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \xe4", None])
def test_a_file_that_is_no_text_or_not_there_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "c.yaml")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("#" * 4_000_001)
    with pytest.raises(ConfigError, match="4 MB"):
        load_config(tmp_path / "c.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    load(tmp_path, "\ufeff" + GOOD)


# --- messages -------------------------------------------------------------------------------------------------------


def test_all_mistakes_are_named_at_once_with_line_and_nearest_key(tmp_path: Path) -> None:
    text = """\
encoder:
  fundus: {modality: Fundos, weights: random, arch: x}
encoders:
  fundus: {modality: Fundos, weight: random, statistics: modalty}
models:
  tiny: {Fundus: fundis}
datasets:
  a:
    modality: OCT
    rot: data
    layout: vmf
    split: {validation: 2, by: person}
tasks:
  t: {kind: classification, datasets: [b], models: [tiny], targets: {dr: {type: binry}}, seeds: []}
"""
    found = problems(tmp_path, text)
    expected = [
        "1: encoder: unknown key; did you mean 'encoders'?",
        "4: encoders.fundus.weight: unknown key; did you mean 'weights'?",
        "4: encoders.fundus.statistics: expected 'weights', 'modality', 'imagenet' or 'auto', or a block of keys, found"
        " 'modalty'; did you mean 'modality'?",
        "4: encoders.fundus.modality: no modality is named 'Fundos'; did you mean 'Fundus'?",
        "6: models.tiny.Fundus: no encoder is named 'fundis'; did you mean 'fundus'?",
        "8: datasets.a.root: missing",
        "10: datasets.a.rot: unknown key; did you mean 'root'?",
        "11: datasets.a.layout: expected 'vfm', 'imagefolder', 'table', 'segmentation', 'landmark' or 'forecasting',"
        " found 'vmf'; did you mean 'vfm'?",
        "12: datasets.a.split.validation: input should be less than 1, found 2",
        "12: datasets.a.split.by: expected 'subject', 'eye' or 'image', found 'person'",
        "14: tasks.t.datasets.0: no dataset is named 'b'; known: a",
        "14: tasks.t.targets.dr.type: expected 'binary', 'multiclass' or 'multilabel', found 'binry'"
        "; did you mean 'binary'?",
        "14: tasks.t.seeds: list should have at least 1 item after validation, not 0, found a list",
        "14: tasks.t.targets.dr: no label of the task's datasets is named 'dr'; known: none",
    ]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("labels: [dr, iop]", "labels: 3", "6: datasets.a.labels: expected a list, or 'none', found 3"),
        ("labels: [dr, iop]", "labels: non", "expected a list, or 'none', found 'non'; did you mean 'none'?"),
        ("labels: [dr, iop]", "labels: [[dr]]", "6: datasets.a.labels.0: expected text, found a list"),
        ("type: binary", "type: multiclass, classes: 0", "dr.classes: input should be greater than or equal to 1"),
        ("type: binary", "type: multiclass, classes: {a: {b: 1}, c: 2}", "dr.classes.a: expected true or false, or"),
        ("type: binary", "type: multiclass, classes: [[1]]", "dr.classes.0: expected true or false, or a whole"),
        ("arch:", "statistics: {mean: [1, 2, 3], sdt: [1, 1, 1]}, arch:", "sdt: unknown key; did you mean 'std'?"),
        ("datasets: [a]", "datasets: a", "8: tasks.t.datasets: expected a list, found 'a'"),
        ("{Fundus: fundus}", "[fundus]", "4: models.tiny: expected a block of keys, found a list"),
        ("modality: Fundus, root", "modality: , root", "6: datasets.a.modality: expected text, found nothing"),
        ("root: data/a", "root: 3", "6: datasets.a.root: expected text, found 3"),
        ("dr: {type: binary}", "dr: ", "8: tasks.t.targets.dr: expected a block of keys, found nothing"),
    ],
)
def test_a_wrong_value_gives_one_message_in_plain_words(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert any(message in problem for problem in problems(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    "name", ["a/b", "..", "../a", "{a}", "A", "1a", "a b", "a-b", "", "\u00e4", "a\\n", "a;rm", "$(a)", "-a", "a\\0"]
)
@pytest.mark.parametrize("old", ["  fundus:", "  tiny:", "  a:", "  t:", "{dr: {type"])
def test_names_that_could_not_be_paths_are_refused(name: str, old: str, tmp_path: Path) -> None:
    quoted = f'"{name}":' if not old.startswith("{") else f'{{"{name}": {{type'
    text = GOOD.replace(old, f"  {quoted}" if not old.startswith("{") else quoted)
    assert any("expected a name of small letters" in problem for problem in problems(tmp_path, text))


def test_an_empty_file_lacks_its_blocks(tmp_path: Path) -> None:
    assert problems(tmp_path, "# nothing\n") == [f"{b}: missing" for b in ("encoders", "models", "datasets", "tasks")]


# --- several files --------------------------------------------------------------------------------------------------


def test_later_files_go_over_earlier_ones_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("datasets: {a: {root: elsewhere, labels: [dr]}}\ntitle: Ours\n")
    config = load_config(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert (config.title, config.datasets["a"].root, config.datasets["a"].labels) == ("Ours", "elsewhere", ["dr"])
    assert config.datasets["a"].layout == "vfm"


def test_a_mistake_is_placed_in_the_file_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("title: Ours\n\ndatasets: {a: {roof: x}}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert f"{tmp_path}/b.yaml:3: datasets.a.roof: unknown key; did you mean 'root'?" in str(raised.value)


def test_keys_doubled_in_two_files_are_each_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(GOOD + "title: x\ntitle: y\n")
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert str(raised.value).count("title: stands twice") == 2


# --- round trip and fuzz --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid_and_survives_a_round_trip(path: Path) -> None:
    config = load_config(path)
    assert Config.model_validate(config.dump()) == config
    assert parse_config(config.dump()) == config


MODEL: dict[str, Any] = {
    "encoders": {
        "e": {"modality": "Fundus", "weights": "random", "arch": "x", "trained_on": ["d"], "statistics": "weights"}
    },
    "models": {"m": {"Fundus": "e"}},
    "datasets": {
        "d": {
            "modality": "Fundus",
            "root": "x",
            "layout": "table",
            "table": "t.csv",
            "columns": {"image": "i", "targets": {"y": "y", "z": ["a", "b"]}},
            "split": {"validation": 0.2, "stratify": "y", "like": None},
            "path_pattern": "(?P<subject>x)",
        }
    },
    "modalities": {"OCTA": {"statistics": "imagenet"}},
    "tasks": {
        "t": {
            "kind": "classification",
            "datasets": ["d"],
            "models": ["m"],
            "targets": {"y": {"type": "multiclass", "classes": {"a": 0, "b": [1, 2]}, "unknown": [-1]}},
            "training": {"lr": 0.1},
            "seeds": [0, 1],
        }
    },
}
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, -1, 2.5, float("nan"), "", "y", "d", "any", "none", "random", "(?P<", "a/b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["y", "e", "d", "like", "x"]), inner),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in inside for place in places(inner, (*path, key)))]


def test_the_fuzzed_model_is_valid() -> None:
    parse_config(MODEL)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(places(MODEL)[1:]), VALUES), min_size=1, max_size=3))
def test_any_change_of_values_gives_a_config_or_a_config_error(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    raw = copy.deepcopy(MODEL)
    for place, value in changes:
        inside: Any = raw
        for key in place[:-1]:
            try:
                inside = inside[key]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if isinstance(inside, dict) or (isinstance(inside, list) and place[-1] in range(len(inside))):
                inside[place[-1]] = value
    try:
        config = parse_config(raw)
    except ConfigError as error:
        assert "list[" not in str(error) and "constrained-" not in str(error)
        return
    assert Config.model_validate(config.dump()) == config


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab:{}[]&*!|>-? \n\t#'\"%,.0123\x00\u00e4", max_size=60))
def test_any_text_gives_a_config_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path_factory.getbasetemp(), text)


def test_external_each_is_a_task_for_each_dataset_tested_on_all_others() -> None:
    table = {
        "modality": "Fundus",
        "layout": "table",
        "table": "t.csv",
        "columns": {"image": "f", "targets": {"dr": "dr"}},
    }
    raw: dict[str, Any] = {
        "encoders": {"e": {"modality": "any", "weights": "random", "arch": "vit_tiny_patch16_224"}},
        "models": {"m": {"any": "e"}},
        "datasets": {name: table | {"root": name} for name in "abc"},
        "tasks": {"t": {"kind": "classification", "datasets": ["a", "b", "c"], "external": "each", "models": ["m"],
                        "targets": {"dr": {"type": "binary"}}}},
    }  # fmt: skip
    tasks = parse_config(raw).tasks
    assert {name: (task.datasets, task.external) for name, task in tasks.items()} == {
        "t_on_a": (["a"], ["b", "c"]), "t_on_b": (["b"], ["a", "c"]), "t_on_c": (["c"], ["a", "b"]),
    }  # fmt: skip
    raw["tasks"]["t_on_b"] = raw["tasks"]["t"] | {"external": []}
    with pytest.raises(ConfigError, match="makes a task t_on_b"):
        parse_config(raw)
    with pytest.raises(ConfigError, match="needs two `datasets` or more"):
        parse_config(raw | {"tasks": {"t": raw["tasks"]["t"] | {"datasets": ["a"]}}})
