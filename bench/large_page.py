"""The page of many pairs of task and model: its size, and how long Chromium takes to open it.

Run: `python -m bench.large_page CONFIG [--pairs 100]` in the folder of a finished run. The sections of the run's own
tasks are repeated under other names until there are so many pairs, and the page is split as stage `report` does it.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from dataclasses import is_dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from visionfm.figures.section import Section
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan
from visionfm.report import data
from visionfm.report.page import Page, page, split
from visionfm.report.stage import LARGEST_PAGE, render


def _renamed(view: Any, key: str, name: str) -> Any:
    return replace(view, **{key: name}) if is_dataclass(view) else view._replace(**{key: name})


def repeated(content: Page, times: int) -> Page:
    """Return the page with each task there so many times."""

    def again(section: Section) -> list[Section]:
        if section.task:
            names = [f"{section.task}_{number}" for number in range(times)]
            views = [_renamed(section.view, "name", name) for name in names]
            return [
                section._replace(view=view, anchor=f"task-{name}", title=f"Task {name}", task=name)
                for view, name in zip(views, names, strict=True)
            ]
        return [section._replace(view=of_all(section.view))]

    def of_all(view: Any) -> Any:
        """Repeat the parts of a view, or of one of its fields, that are of one task each."""
        if isinstance(view, list) and view and hasattr(view[0], "task"):
            return [_renamed(one, "task", f"{one.task}_{number}") for one in view for number in range(times)]
        if hasattr(view, "_fields"):
            return view._replace(**{name: of_all(getattr(view, name)) for name in view._fields})
        return view

    titles = {f"{task}_{number}": f"{title} {number}" for task, title in content.titles.items()
              for number in range(times)}  # fmt: skip
    sections = [one for section in content.sections for one in again(section)]
    return replace(content, sections=sections, titles=content.titles | titles)


def opened(path: Path) -> float:
    """Return the seconds that headless Chromium takes to lay a page out, beyond those for an empty one."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    took = []
    for url in ("about:blank", path.resolve().as_uri()):
        begin = time.perf_counter()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", url]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - begin)
    return took[1] - took[0]


def main() -> None:
    """Print sizes and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--pairs", type=int, default=100)
    args = parser.parse_args()
    plan = Plan(load_config(args.config))
    own = page(data.load(plan))
    pairs = len(list(plan.task_models()))
    content = repeated(own, next(times for times in count(1) if times * pairs >= args.pairs))
    texts, first = {"all in one": render(content)}, content
    if len(texts["all in one"]) > LARGEST_PAGE:
        first, alone = split(content)
        texts["first page"] = render(first)
        largest = max(alone, key=lambda one: len(render(one)))
        texts[f"largest of {len(alone)} pages of tasks"] = render(largest)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = Path(folder, "page.html")
            path.write_text(text)
            print(f"{name}: {len(text.encode()) / 1e6:.1f} MB, opened in {opened(path):.1f} s")


if __name__ == "__main__":
    main()
