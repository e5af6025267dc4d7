"""Each answer beside its truth: what was said, whether and by how much it was wrong; which answers to look at.

Pure functions of predictions (rows of one target, run and subset as a DataFrame). A class is called as in the figures:
yes from 0.5 on, the most probable of several, the expected grade of grades.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from visionfm.metrics.written import number, short


class Verdict(NamedTuple):
    """One answer. `size` puts errors in order: how sure the answer was, how many grades or units it missed by."""

    sample_id: str
    dataset: str
    group: str  # what typical answers are chosen within: the truth, or all values together
    says: str
    wrong: bool
    size: float


def verdicts(rows: Any, target: Mapping[str, Any], kind: str) -> list[Verdict]:
    """Return those of all answers whose truth is known, in the order of the rows; of several findings each by itself.

    No value is exactly right, so that none is `wrong`: its `size` says by how much it missed.
    """
    known = rows[rows["truth"].notna()]
    truth_N = known["truth"].to_numpy(np.float64)
    ids = list(zip(known["sample_id"], known["dataset"], strict=True))
    if target["type"] == "value":
        unit = f" {target['unit']}" if target.get("unit") else ""
        pairs = list(zip(known["value"].to_numpy(np.float64), truth_N, strict=True))
        texts = [f"{number(said)}{unit} was said, {number(true)}{unit} is true" for said, true in pairs]
        told = zip(ids, texts, pairs, strict=True)
        return [Verdict(*who, "", text, False, abs(said - true)) for who, text, (said, true) in told]
    score_NK = np.array([list(scores) for scores in known["scores"]], np.float64).reshape(len(known), -1)
    if target["type"] in ("binary", "multilabel"):
        names = target["classes"] if target["type"] == "binary" and target["classes"] else ["no", "yes"]
        score_NK = np.concatenate([1 - score_NK[:, :1], score_NK[:, :1]], axis=1)
    else:
        names = target["classes"]
    about = [f"{name}: " if target["type"] == "multilabel" else "" for name in known["class"]]
    called_N = _called(score_NK, kind)
    miss_N = np.abs(called_N - truth_N) if kind == "ordinal" else (called_N != truth_N) * 1.0
    sure_N = score_NK[np.arange(len(known)), called_N]
    found = []
    for n, who in enumerate(ids):
        said, true = (str(names[int(k)]) for k in (called_N[n], truth_N[n]))
        text = f"{about[n]}called {said} (probability {short(sure_N[n])}), {true} is true"
        found.append(
            Verdict(*who, about[n] + true, text, bool(miss_N[n] > 0), float(max(miss_N[n] - 1, 0) + sure_N[n]))
        )
    return found


def _called(score_NK: Any, kind: str) -> Any:
    if kind == "ordinal":
        from visionfm.tasks.ordinal.score import called

        return called(score_NK)
    if score_NK.shape[1] == 2:
        return (score_NK[:, 1] >= 0.5).astype(np.intp)
    return score_NK.argmax(axis=1)


def worst(found: list[Verdict], most: int) -> list[Verdict]:
    """Return the largest errors first, a sample at most once."""
    wrong = [one for one in found if one.wrong] if any(one.group for one in found) else found
    return _each_once(sorted(wrong, key=lambda one: (-one.size, one.sample_id)), most)


def typical(found: list[Verdict], most: int) -> list[Verdict]:
    """Return answers in the middle of the right ones (of values: of all), of each true class in turn."""
    groups: dict[str, list[Verdict]] = {}
    for one in found:
        if not one.wrong:
            groups.setdefault(one.group, []).append(one)
    middles = []
    for _, members in sorted(groups.items()):
        middle = float(np.median([one.size for one in members]))
        middles.append(sorted(members, key=lambda one: (abs(one.size - middle), one.sample_id)))
    deepest = max((len(members) for members in middles), default=0)
    return _each_once([members[at] for at in range(deepest) for members in middles if at < len(members)], most)


def _each_once(found: list[Verdict], most: int) -> list[Verdict]:
    return list({one.sample_id: one for one in reversed(found)}.values())[::-1][:most]
