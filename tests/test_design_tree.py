"""docs/design.md is true of the folders: its tree names every room, and imports go down its floors."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "visionfm"
UPWARD = {  # imports that still go up; the list may only become shorter
    "data/columns.py: project",
    "metrics/masks_and_points.py: data",
    "metrics/masks_and_points.py: tasks",
    "project/plan.py: report",
    "tasks/maps/figures.py: report",
    "tasks/maps/samples.py: project",
    "tasks/progression/section.py: report",
}


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


def floors() -> dict[str, int]:
    """The floor of each room."""
    rows = re.findall(r"^\| (\d) \| (.*) \|$", section("Floors"), re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}


def imported(path: Path) -> set[str]:
    """The rooms that a module imports from, at its head or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "visionfm":
            names |= {f"visionfm.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    rooms = {name.split(".")[1] for name in names if name.startswith("visionfm.")}
    return rooms - {"__version__"}


def test_every_line_of_the_tree_names_a_file_or_folder() -> None:
    assert [path for path in listed() if not (ROOT / path).exists()] == []
    assert [path for path in listed() if (ROOT / path).is_dir() != path.endswith("/")] == []


def test_every_folder_of_the_package_and_every_module_beside_them_has_one_line() -> None:
    folders = {path.parent for pattern in ("*.py", "*.yaml", "*.j2") for path in PACKAGE.rglob(pattern)}
    modules = set(PACKAGE.glob("*.py"))
    there = {f"{path.relative_to(ROOT)}/" for path in folders} | {str(path.relative_to(ROOT)) for path in modules}
    assert sorted(path for path in listed() if path.startswith("visionfm/")) == sorted(there)


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__", "__main__"} == set(floors())


def test_imports_go_down_the_floors() -> None:
    floor = floors()
    up = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        room = inside.parts[0].removesuffix(".py")
        up |= {f"{inside}: {other}" for other in imported(path) if floor[other] > floor.get(room, 9)}
    assert up - UPWARD == set()
