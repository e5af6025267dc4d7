"""Whatever text stands in a config's file, it is read or refused in our words, and soon."""

import random
import time
from pathlib import Path

import pytest
import yaml

from visionfm.errors import ConfigError
from visionfm.project.loading import load_config

CONFIG = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"}},
    "models": {"one": {"Fundus": "fundus"}},
    "datasets": {
        "clinic": {
            "modality": "Fundus",
            "root": "photos",
            "layout": "table",
            "table": "labels.csv",
            "columns": {"image": "file", "subject": "who", "targets": {"sick": "sick"}},
            "split": {"test_subjects": ["a", "b"]},
        }
    },
    "tasks": {
        "sick": {
            "kind": "classification",
            "datasets": ["clinic"],
            "models": ["one"],
            "targets": {"sick": {"type": "binary"}},
        }
    },
}
PUT_IN = (
    *("[", "]", "{", "}", "&a ", "*a", "!!binary ", "!!set ", "!!timestamp ", "!!int ", "!!bool ", "? "),
    *("2020-99-99", "9" * 5000, "1e999", ".nan", "~", "null", "<<: ", "|", ">-", "\t", '"\\ud800"', '"\\0"', "- "),
    *(": ", "\u2028", "\ufeff", "---\n", "...\n", "%YAML 9.9\n", "'", '"', "#", "[" * 300, "-1", "{a: b}", "!!omap "),
)  # fmt: skip
SLOW_S = 10


def read(path: Path, text: str) -> bool:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    began = time.process_time()
    try:
        load_config(path)
        whole = True
    except ConfigError as error:
        str(error).encode()  # it can be printed
        whole = False
    assert time.process_time() - began < SLOW_S
    return whole


def changed(text: str, rng: random.Random) -> str:
    """The text with odd words put in, after a key by preference."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(text))
        spot = text.find(": ", at) + 2 if rng.random() < 0.6 else at
        end = spot + rng.choice([0, 0, 1, 5])
        text = text[:spot] + rng.choice(PUT_IN) + text[end:]
    return text


def test_changed_configs_are_read_or_refused(tmp_path: Path) -> None:
    rng, text = random.Random(0), yaml.safe_dump(CONFIG)
    assert read(tmp_path / "config.yaml", text)
    refused = 0
    for _ in range(400):
        refused += not read(tmp_path / "config.yaml", changed(text, rng))
    assert refused > 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "a: [" + "1, " * 1_200_000 + "]",
        "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *a]\n" for n in range(40)),
        "a: &a [*a]",
        "&a {a: *a}",
        "- " * 50_000,
        "a: !!timestamp 2020-99-99",
        "a: !!bool maybe",
        "a: " + "9" * 5000,
        "? [a, b]\n: c",
        "? {a: b}\n: c",
        "!!set {a, b}",
        'title: "\\ud800"',
        "1: 2",
        "null: null",
    ],
    ids=lambda text: text[:20],
)
def test_what_no_config_says_is_refused_soon(text: str, tmp_path: Path) -> None:
    assert not read(tmp_path / "config.yaml", text)
