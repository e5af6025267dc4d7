"""docs/design.md is true of the folders: its tree and its floors name every room of the package, and nothing else."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "visionfm"


def section(name: str) -> str:
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/design.md has no section {name}"
    return found[1]


def listed() -> list[str]:
    """The paths of the tree, by the indentation of its lines; those of folders end in a slash."""
    paths, above = [], [""]
    for line in section("Tree").split("```")[1].strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[: depth + 1], above[depth] + line.split()[0]]
        paths.append(above[-1])
    return paths


def test_every_line_of_the_tree_names_a_file_or_folder() -> None:
    assert [path for path in listed() if not (ROOT / path).exists()] == []
    assert [path for path in listed() if (ROOT / path).is_dir() != path.endswith("/")] == []


def test_every_folder_of_the_package_and_every_module_beside_them_has_one_line() -> None:
    folders = {path.parent for pattern in ("*.py", "*.yaml", "*.j2") for path in PACKAGE.rglob(pattern)}
    folders = {folder for folder in folders if folder.name != "recipes"}  # data of the room they stand in
    modules = set(PACKAGE.glob("*.py"))
    there = {f"{path.relative_to(ROOT)}/" for path in folders} | {str(path.relative_to(ROOT)) for path in modules}
    assert sorted(path for path in listed() if path.startswith("visionfm/")) == sorted(there)


def test_every_room_stands_on_one_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    rows = re.findall(r"^\| \d \| (.*) \|$", section("Floors"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(rooms - {"__init__", "__main__"})
