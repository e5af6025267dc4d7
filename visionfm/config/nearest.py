"""Names that do not exist, said with the nearest one that does."""

import difflib
from collections.abc import Iterable


def unknown(name: object, known: Iterable[str], what: str) -> str | None:
    """Return what is wrong with a name that must be one of the known ones, or None; what is no text is not judged."""
    names = [str(one) for one in known]
    if not isinstance(name, str) or name in names:
        return None
    spelled = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.5)
    hint = f"did you mean {spelled[near[0]]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"no {what} is named {name!r}; {hint}"
