"""What may stand nowhere in package or workflow: unsafe loading, swallowed errors, rerun traps, machine paths."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "visionfm").rglob("*.py"))
WORKFLOW = sorted(path for path in (ROOT / "workflow").rglob("*") if path.name == "Snakefile" or path.suffix == ".smk")
TEXTS = [*PACKAGE, *WORKFLOW, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
TEXTS += [path for pattern in ("*.yaml", "*.md") for path in sorted(ROOT.rglob(pattern)) if ".venv" not in path.parts]
UNSAFE = {
    "a pickle is read or written": r"\bpickle\.(?:loads?|dumps?|Unpickler|Pickler)\b|\bfrom pickle import",
    "joblib, dill or shelve": r"\bimport (?:joblib|dill|shelve)\b",
    "torch loads more than weights": r"weights_only\s*=\s*False",
    "YAML builds objects": r"yaml\.(?:load|unsafe_load|full_load)\(",
    "eval": r"(?<![\w.])eval\(",
    "exec": r"(?<![\w.])exec\(",
    "a shell": r"shell\s*=\s*True|os\.system\(|os\.popen\(",
    "torch.hub": r"torch\.hub",
    "numpy unpickles": r"allow_pickle\s*=\s*True",
    "truncated images pass": r"LOAD_TRUNCATED_IMAGES",
    "no pixel limit": r"MAX_IMAGE_PIXELS\s*=\s*None",
    "an unfinished part": r"\bTODO\b|\bFIXME\b|raise NotImplementedError",
}
# Reads pickles as data, in a process of its own: nothing that one names is imported (tests/encoders/test_pickles.py).
ALLOWED = {"visionfm/encoders/pickle_reader.py:": "a pickle is read or written"}
RERUN_TRAPS = {
    "update()": r"\bupdate\(",
    "ancient()": r"\bancient\(",
    "a checkpoint rule": r"^\s*checkpoint\b",
    "temp()": r"\btemp\(",
}
# Folders of the machines that the project was written on; a shebang and /proc are no such thing.
MACHINE = r"(?<![\w.])/(?:home|work|root|Users|mnt|scratch)/\w"


def found(pattern: str, paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_there_is_something_to_search() -> None:
    assert len(PACKAGE) > 20 and len(WORKFLOW) >= 6


@pytest.mark.parametrize("what", UNSAFE)
def test_the_package_never_does_what_is_unsafe(what: str) -> None:
    allowed = [place for place, of in ALLOWED.items() if of == what]
    assert [line for line in found(UNSAFE[what], [*PACKAGE, *WORKFLOW]) if not line.startswith(tuple(allowed))] == []


def test_no_error_is_caught_without_a_name_or_passed_over() -> None:
    caught = []
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or isinstance(node.body[0], ast.Pass)):
                caught.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert caught == []


@pytest.mark.parametrize("what", RERUN_TRAPS)
def test_no_rule_leaves_stale_results_that_look_finished(what: str) -> None:
    assert found(RERUN_TRAPS[what], WORKFLOW) == []


def test_no_file_names_a_folder_of_some_machine() -> None:
    assert found(MACHINE, [path for path in TEXTS if path != Path(__file__).resolve()]) == []


def test_code_is_ascii() -> None:
    assert [str(path.relative_to(ROOT)) for path in PACKAGE if not path.read_bytes().isascii()] == []


def test_only_the_config_reads_yaml() -> None:
    readers = found(r"yaml\.\w*(?:load|Loader|parse|compose)", [*PACKAGE, *WORKFLOW])
    assert readers and all(line.startswith("visionfm/config/yaml_files.py:") for line in readers)
