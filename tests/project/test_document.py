"""docs/config.md and docs/config.schema.json are in step with the models, and what they show works."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from visionfm.project import document
from visionfm.project.config import Config
from visionfm.project.document import DOCS, json_schema, page, shown_keys, write
from visionfm.project.document_sections import SECTIONS
from visionfm.project.loading import load_config
from visionfm.tasks.block import TaskBlock, Training


def _blocks(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Return the models of all blocks below a block, itself included."""
    found = {model}
    for field in model.model_fields.values():
        for kind in _parts(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
                found |= _blocks(kind)
    return found


def _parts(kind: object) -> Iterator[object]:
    yield kind
    for inner in get_args(kind):
        yield from _parts(inner)


BLOCKS = _blocks(Config)
FOLDER = Path(document.__file__).resolve().parents[1]


def tables(first: str = "") -> list[list[str]]:
    """The page's tables, line by line, whose first column has this name."""
    found = re.findall(rf"(?:^\| {first}.*\n)(?:^\|.*\n)+", page(), re.MULTILINE)
    return [table.splitlines() for table in found]


@pytest.mark.parametrize(("name", "content"), [("config.md", page), ("config.schema.json", json_schema)])
def test_the_file_is_in_step_with_the_models(name: str, content: object) -> None:
    assert callable(content)
    assert (DOCS / name).read_text(encoding="utf-8") == content(), "run `make docs`"


def test_every_block_has_its_section_and_every_key_a_meaning() -> None:
    shared = {TaskBlock, Training}  # what the blocks of all kinds have stands once, before them
    assert {section.model for section in SECTIONS} | {Config} == BLOCKS | shared
    for model in BLOCKS:
        assert not [name for name, field in model.model_fields.items() if not field.description], model
    rows = [line for table in tables("key") for line in table[2:]]
    assert len(rows) == sum(len(shown_keys(model)) for model in BLOCKS | shared)
    for model in BLOCKS:
        bases = [base for base in shared if issubclass(model, base)]
        assert set(model.model_fields) == set().union(*(shown_keys(block) for block in (model, *bases))), model


def test_the_examples_of_the_page_are_together_a_valid_config(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", page(), re.DOTALL)
    assert len(examples) == sum(bool(section.example) for section in SECTIONS)
    paths = [tmp_path / f"{index:02}.yaml" for index in range(len(examples))]
    for path, example in zip(paths, examples, strict=True):
        path.write_text(example)
    config = load_config(*paths)
    assert len(config.tasks) > 3 and config.tasks["grades"].training.lr == 1e-3


def test_a_table_has_as_many_columns_in_each_line() -> None:
    for table in tables():
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]
    assert {len(re.split(r"(?<!\\)\|", table[0])) for table in tables("key")} == {6}


def test_the_values_of_every_recipe_are_shown() -> None:
    rows = [line for table in tables("hyper-parameter") for line in table]
    assert "| `lr` | 0.003 | 0.001 | 0.001 | 0.003 |" in rows and "| lr_by | step | epoch |" in rows
    files = {path for section in SECTIONS for table in section.recipes for path in table.files.values()}
    assert sorted(files) == sorted(FOLDER.rglob("recipes/*.yaml"))


def test_bounds_defaults_and_choices_are_shown() -> None:
    rows = {line.split("|")[1].strip(): line for table in tables("key") for line in table}
    assert "number > 0, < 1 | `0.15`" in rows["`validation`"]
    assert "`vfm` or `imagefolder` or `table`" in rows["`layout`"] and "| required |" in rows["`layout`"]
    assert "[Statistics](#statistics)" in rows["`statistics`"]
    assert "list of integer >= 0 | `[0]`" in rows["`seeds`"]


def test_the_schema_is_json_and_knows_every_block() -> None:
    content = json.loads(json_schema())
    assert set(content["$defs"]) == {model.__name__ for model in BLOCKS if model is not Config}
    assert content["additionalProperties"] is False


def test_both_files_are_written_to_the_folder_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.md", "config.schema.json"]
    assert (tmp_path / "config.md").read_text() == document.page()
