"""Checklists of reporting: each item with what fills it, where that stands, and whether authors have to add to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from visionfm.config.yaml_files import read_yaml
from visionfm.report.paper.evidence import METHODS, Evidence
from visionfm.report.paper.formats import escaped

CHECKLISTS = ("tripod_ai", "claim", "stard_ai")
ITEMS = Path(__file__).with_name("checklists.yaml")
State = Literal["filled", "partly", "authors"]


class Item(NamedTuple):
    """One item: its number, what it asks, whether it is filled, by which sentences, where they stand, what is left."""

    number: str
    asks: str
    state: State
    says: list[str]
    links: list[str]
    left: list[str]


def items(name: str, evidence: Mapping[str, Evidence], study: Mapping[str, Any]) -> list[Item]:
    """Return the items of a checklist of checklists.yaml, as far as this run fills them."""
    return [_item(str(number), one, evidence, study) for number, one in checklist(name)["items"].items()]


def checklist(name: str) -> dict[str, Any]:
    """Return a checklist of checklists.yaml: its title, its reference, its items by number."""
    return dict(read_yaml(ITEMS).values[name])


def _item(number: str, one: Mapping[str, Any], evidence: Mapping[str, Evidence], study: Mapping[str, Any]) -> Item:
    found, unless = (evidence[name] for name in one.get("from", ()) if name in evidence), one.get("unless", {})
    there = [*found, *(evidence[name] for name in unless if name in evidence)]
    told = [str(study[key]) for key in one.get("study", ()) if study[key]]
    left = [f"{key.replace('_', ' ')} (`study`)" for key in one.get("study", ()) if not study[key]]
    left += [name.replace("_", " ") for name in one.get("from", ()) if name not in evidence]
    left += [words for name, words in unless.items() if name not in evidence]
    left += [one["more"]] if "more" in one else []
    says = [*(found.text for found in there), *told]
    state: State = "authors" if not says else "partly" if left else "filled"
    links = list(dict.fromkeys([*(found.link for found in there), *([METHODS] if told else [])]))
    keys = ", ".join(f"`study: {key}`" for key in one.get("study", ()))
    asked = f"{one['asks']} ({keys})" if keys else one["asks"]
    return Item(number, one["asks"], state, says, links, left if says else [asked])


def as_markdown(name: str, found: list[Item]) -> str:
    """Return a checklist as a Markdown table."""
    about = checklist(name)
    states = [item.state for item in found]
    lines = [
        f"# {about['title']}",
        "",
        f"{states.count('filled')} of {len(found)} items are filled from the artefacts and the config of this run, "
        f"{states.count('partly')} partly; {states.count('authors')} are for the authors. Topics are in our words: "
        f"read the published checklist beside them (`{about['cites']}` in references.bib).",
        *(["", about["note"]] if "note" in about else []),
        "",
        "| item | asks for | state | value | where |",
        "|---|---|---|---|---|",
    ]
    for item in found:
        gap = f"\\[AUTHORS: {escaped('; '.join(item.left))}\\]" if item.left else ""
        value = " ".join([*map(escaped, item.says), *([gap] if gap else [])])
        where = ", ".join(f"[{link}]({link})" for link in item.links)
        lines.append(f"| {item.number} | {escaped(item.asks)} | {item.state} | {value} | {where} |")
    return "\n".join([*lines, ""])
