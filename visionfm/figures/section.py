"""A section of the report's page: what it shows, and the template that shows it."""

from typing import Any, NamedTuple


class Section(NamedTuple):
    """`template` is a path below the package; it gets `view`, a tree of plain values. Parts of a task have no title."""

    template: str
    view: Any
    title: str = ""
    anchor: str = ""
    short: str = ""  # its name in the list of contents, where that is another
    folded: bool = False  # whether the page shows its title alone until somebody opens it
    task: str = ""  # of which alone it tells; a page that is large has a page for each task
    by_task: bool = False  # whether its view is a list with a part for each task, which says so as `task`
