"""Raw configs with one value changed."""

import copy


def changed(raw: dict, path: str, value: object) -> dict:
    """A copy with the value at a dotted path set, its blocks made where there are none; None takes it away."""
    raw = copy.deepcopy(raw)
    *parts, last = path.split(".")
    block = raw
    for part in parts:
        block = block.setdefault(part, {})
    block[last] = value
    if value is None:
        del block[last]
    return raw
