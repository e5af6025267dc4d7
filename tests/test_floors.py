"""A lower floor of the house never imports a higher one: read from the sources, imports inside functions too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "visionfm"
# From the ground up; rooms of one floor do not import each other.
FLOORS = (
    ("errors",),
    ("metrics", "figures", "artifacts"),
    ("config", "runtime", "modalities"),
    ("images",),
    ("encoders", "data", "synthetic"),
    ("features", "pretraining"),
    ("tasks",),
    ("project",),
    ("report",),
    ("cli", "commands"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# The ways down that two rooms of one floor may take; each with its reason.
BESIDE: dict[tuple[str, str], str] = {}
ABOVE_ALL = ("__init__", "__main__")  # `load_encoder`, and how torchrun starts a stage


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of what a module imports from the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("visionfm."))
        elif isinstance(node, ast.ImportFrom) and node.module == "visionfm":
            yield from ((node.lineno, f"visionfm.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("visionfm."):
            yield node.lineno, str(node.module)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) not in ABOVE_ALL)


def climbs() -> Iterator[str]:
    for path in MODULES:
        here = room_of(path)
        for line, name in imports(path):
            there = name.split(".")[1]
            if there == here or there == "__version__" or (here, there) in BESIDE:
                continue
            if FLOOR[there] >= FLOOR[here]:
                yield f"{path.relative_to(PACKAGE.parent)}:{line}: {here} imports {name}"


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in MODULES} == set(FLOOR)


def test_no_room_imports_one_on_its_floor_or_above() -> None:
    assert list(climbs()) == []


def test_no_circle_of_modules() -> None:
    """Imports at the top of modules are a graph without circles."""
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES}
    by_name = {name.removesuffix(".__init__"): path for path, name in names.items()}
    graph = {path: list(_top_level(path, by_name)) for path in MODULES}
    done: set[Path] = set()

    def visit(path: Path, on_the_way: tuple[Path, ...]) -> None:
        if path in on_the_way:
            circle = [names[one] for one in on_the_way[on_the_way.index(path) :]]
            pytest.fail(f"a circle of imports: {' -> '.join([*circle, circle[0]])}")
        if path not in done:
            for imported in graph[path]:
                visit(imported, (*on_the_way, path))
            done.add(path)

    for path in MODULES:
        visit(path, ())


def _top_level(path: Path, by_name: dict[str, Path]) -> Iterator[Path]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("visionfm"):
            whole = by_name.get(str(node.module))
            parts = [by_name.get(f"{node.module}.{alias.name}") for alias in node.names]
            named = [part for part in parts if part is not None]
            if len(named) < len(node.names) and whole is not None:
                named.append(whole)
            yield from (found for found in named if found != path)
