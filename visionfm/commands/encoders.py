"""`visionfm encoders`: the layouts of weights that are known, whose they are, and what is done with them."""

import argparse
import textwrap

from visionfm.encoders.layouts import LAYOUTS, Layout

STATISTICS = {
    "imagenet": "ImageNet",
    "modality": "the modality's",
    "clip": "CLIP",
    "half": "0.5, 0.5",
    "unit": "none: values in [0, 1]",
    "said": "has to be said",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: none."""


def main(args: argparse.Namespace) -> None:
    """Print a paragraph for each layout."""
    for layout in LAYOUTS:
        print(f"{layout.title}  [{layout.name}]")
        for word, text in facts(layout).items():
            print(f"    {word}: {text}")
    print("\nFor a network of timm's that is none of these, give --timm NAME beside its file.")


def facts(layout: Layout) -> dict[str, str]:
    """Return what people want to know of a layout."""
    if layout.refusal is not None:
        return {"not usable": layout.refusal, **({"from": layout.where} if layout.where else {})}
    return {
        "images": layout.modality,
        "normalisation": STATISTICS[layout.statistics],
        "owner reads": layout.pooling,
        "licence": layout.licence,
        **({"from": layout.where} if layout.where else {}),
        **({"also give": layout.arch.replace("`timm: ", "`--timm ")} if layout.arch else {}),
    }


def listing() -> str:
    """Return the layouts as the list of docs/weights.md."""
    usable = [
        f"**{layout.title}**: {'; '.join(f'{word}: {text}' for word, text in facts(layout).items())}."
        for layout in LAYOUTS
        if layout.refusal is None
    ]
    refused = [f"**{layout.title}**: {layout.refusal}." for layout in LAYOUTS if layout.refusal is not None]
    return f"{_list(usable)}\nKnown, and refused with the reason:\n\n{_list(refused)}"


def _list(items: list[str]) -> str:
    wrapped = [textwrap.fill(f"- {item}", 120, subsequent_indent="  ", break_on_hyphens=False) for item in items]
    return "\n".join(wrapped) + "\n"
