"""The pages of the site that nobody writes: what the commands say of themselves, and files that lie outside docs/.

mkdocs calls these functions (`hooks` in mkdocs.yml). Invariant: the site is a pure function of the checkout and of the
pages that `make gallery` has left in docs/gallery/.
"""

import argparse
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from visionfm import cli

CHECKOUT = Path(__file__).parents[1]
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "bench/RESULTS.md": "measured.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those from outside docs/ with their links turned round."""
    made = {name: (CHECKOUT / path).read_text(encoding="utf-8") for path, name in OUTSIDE.items()}
    made = {name: re.sub(r"\]\((?:\.\./)?docs/", "](", text) for name, text in made.items()}
    made |= {"commands.md": commands(), "gallery.md": gallery(CHECKOUT / "docs/gallery")}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside docs/ lead to their pages here."""
    for path, name in OUTSIDE.items():
        markdown = markdown.replace(f"](../{path}", f"]({name}")
    return markdown


def commands() -> str:
    """Return the reference of the command line: each command's own help."""
    os.environ["COLUMNS"] = "100"  # argparse wraps its help to this width
    parts = ["# Commands", "`visionfm COMMAND --help` prints the same."]
    for heading, group in cli.GROUPS.items():
        parts.append(f"## {heading[0].upper()}{heading[1:]}")
        for name in group:
            actions = cli._parser(name)._actions
            known = next(action for action in actions if isinstance(action, argparse._SubParsersAction))
            parts.append(f"### {name}\n\n```text\n{known.choices[name].format_help()}```")
    return "\n\n".join(parts) + "\n"


def gallery(folder: Path) -> str:
    """Return the page that leads to the reports which the how-to's made, where they have been made."""
    parts = [
        "# Gallery",
        "Report pages as a run writes them, of drawn eyes and an untrained encoder: the form is real, the results are "
        "poor. `make gallery` runs the how-to's and lays their pages here.",
    ]
    names = sorted(page.parent.name for page in folder.glob("*/index.html"))
    parts += ["\n".join(f"- [{name.replace('-', ' ')}](gallery/{name}/index.html)" for name in names)] if names else []
    return "\n\n".join(parts) + "\n"
