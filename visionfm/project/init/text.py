"""The config that `init` writes: every line of it can be edited, and what was guessed says so beside it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from visionfm.project.init.seen import Seen, Target

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./()-]+)*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}
_WEIGHTS = "weights/VFM_{}_weights.pth"
INDENT = "    "


def config_text(title: str, root: str, datasets: Sequence[Seen], chosen: Sequence[Target], asked: str) -> str:
    """Return the config, with the targets that were chosen, if any."""
    names = list(dict.fromkeys(name for name, _ in (seen.modality or ("", "") for seen in datasets)))
    lines = [
        f"# {title}, as `visionfm init` understood it. Every key: docs/config.md. To test it: `visionfm check`.",
        f"title: {flow(title)}",
        "",
        "encoders:",
        *(
            f"  {one.lower()}: {{modality: {one}, weights: {_WEIGHTS.format(one)}}} # from whom: `visionfm encoders`"
            for one in names
        ),
        "  # `precision: auto` beside the weights: bf16 where this machine has it, faster and a little less exact.",
        "",
        "models:",
        f"  visionfm: {flow({one: one.lower() for one in names})}",
        "",
        "datasets:",
    ]
    for seen in datasets:
        lines += _dataset(seen, root, datasets[0], chosen)
    none = "nothing was chosen; take one of these, or `--target NAME`" if asked else "without labels, features alone"
    lines += ["", "tasks:" if chosen else f"tasks: {{}} # {none}"]
    if chosen:
        lines += _task(chosen, datasets)
    else:
        candidates = list({target.name: target for seen in datasets for target in seen.targets}.values())
        lines += [f"# {line}" for target in candidates for line in _task([target], datasets)]
    if asked:
        lines += ["", f"# {asked}."]
    return "\n".join(lines) + "\n"


def _dataset(seen: Seen, root: str, first: Seen, chosen: Sequence[Target]) -> list[str]:
    keys = dict(seen.keys)
    modality, why = seen.modality or ("", "")
    guess = f" # a guess: {why}" if why else ""
    columns = keys.pop("columns", None)
    lines = [f"  {seen.name}:"]
    said = [
        *seen.facts,
        *(f"A guess: {line}." for line in seen.guesses),
        *(f"Not known: {line}." for line in seen.unknown),
    ]
    lines += [f"{INDENT}# {' '.join(line.split())}" for line in said]
    lines += [f"{INDENT}modality: {modality}{guess}", f"{INDENT}root: {flow(root)}"]
    lines += [f"{INDENT}{key}: {flow(value)}" for key, value in keys.items() if key != "split"]
    if columns is not None:
        lines.append(f"{INDENT}columns:")
        lines += [f"{INDENT}  {key}: {flow(value)}" for key, value in columns.items() if key != "targets"]
        targets = [target for target in seen.targets if target.type not in ("mask", "points")]
        lines += [f"{INDENT}  targets:"] if targets else []
        lines += [f"{INDENT}    {target.name}: {flow(target.source)}{_cases(target)}" for target in targets]
    if (columns is None or "split" not in columns) and seen.split is None and keys["layout"] == "table":
        classes = [target for target in chosen if target.type in ("binary", "multiclass")]
        split: dict[str, Any] = {"test": 0.2} | ({"stratify": classes[0].name} if len(classes) == 1 else {})
        split = {"like": first.name} if seen is not first and "cohort" in keys else split
        lines += [f"{INDENT}split: {flow(split)} # no split is given"] if keys.get("labels") != "none" else []
    elif "split" in keys:
        lines.append(f"{INDENT}split: {flow(keys['split'])} # no split is given")
    return lines


def _cases(target: Target) -> str:
    if not target.cases:
        return " # numbers" if target.type == "value" else ""
    shown = [f"{name} {times}" for name, times in sorted(target.cases.items())][:8]
    more = ", ..." if len(target.cases) > len(shown) else ""
    return f" # {' '.join(', '.join(shown).split())}{more}"


def _task(targets: Sequence[Target], datasets: Sequence[Seen], called: str = "") -> list[str]:
    own = [seen for seen in datasets if any(target.name == targets[0].name for target in seen.targets)]
    trained = [seen.name for seen in own if seen.split != "test"] or [seen.name for seen in own]
    tested = [seen.name for seen in own if seen.name not in trained]
    kinds = {"value": "regression", "mask": "segmentation", "points": "landmarks"}
    kind = kinds.get(targets[0].type, "classification")
    name = called or (targets[0].name if len(targets) == 1 else "signs")
    lines = [f"  {name}:", f"{INDENT}kind: {kind}", f"{INDENT}datasets: {flow(trained)}"]
    lines += [f"{INDENT}external: {flow(tested)}"] if tested else []
    lines += [f"{INDENT}models: [visionfm]"]
    if len({seen.modality for seen in own}) > 1:
        lines += [f"{INDENT}unit: subject # the images of a person together", f"{INDENT}fusion: attention"]
    lines += [f"{INDENT}image_size: 512"] if kind in ("segmentation", "landmarks") else []
    lines.append(f"{INDENT}targets: {flow(_targets(targets))}")
    alone = own if len({seen.modality for seen in own}) > 1 else []  # what each modality says by itself
    return lines + [line for seen in alone for line in _task(targets, [seen], f"{name}_{seen.name}")]


def _targets(targets: Sequence[Target]) -> Mapping[str, Any]:
    if len(targets) > 1:
        return {"signs": {"type": "multilabel", "classes": [target.name for target in targets]}}
    target = targets[0]
    if target.type == "mask":
        return {target.name: {"classes": target.classes}}
    if target.type == "points":
        return {target.name: {}}
    classes = {} if target.classes is None else {"classes": target.classes}
    return {target.name: {"type": target.type, **classes}}


def flow(value: Any) -> str:
    """Return a value as YAML on one line; what could be read as anything but text is quoted."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(inside)}" for key, inside in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
