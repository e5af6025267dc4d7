"""Names that do not exist, said with the nearest one that does."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """Return the known name that a misspelled one is most like, None where none is so like it (0 to 1)."""
    spelled = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=likeness)
    return spelled[near[0]] if near else None


def unknown(name: object, known: Iterable[str], what: str) -> str | None:
    """Return what is wrong with a name that must be one of the known ones, or None; what is no text is not judged."""
    names = [str(one) for one in known]
    if not isinstance(name, str) or name in names:
        return None
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near is not None else f"known: {', '.join(names) or 'none'}"
    return f"no {what} is named {name!r}; {hint}"
