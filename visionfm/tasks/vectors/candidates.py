"""What `head: auto` and `features: auto` try, and how validation chooses among it.

Each candidate is trained as if it were asked for by name; the one with the lowest loss on the validation samples, of
all targets together, is the run's decoder. Invariant: no test row is read (train.parquet has none), and of candidates
that are equally good the first, simplest one is taken.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from visionfm.config.recipe import read_recipe
from visionfm.tasks.settings import Candidate
from visionfm.tasks.vectors.recipe import ATTENTIVE, Recipe

if TYPE_CHECKING:
    from visionfm.tasks.fitting import Fitted

AUTO = "auto"
READOUTS = ("both", "cls", "last_cls", "patch_mean")


def candidates(recipe: Recipe, heads: Sequence[str], given: Mapping[str, Any]) -> dict[str, Candidate]:
    """Return what is tried, by name; nothing where the config leaves no choice.

    `heads` are those among which validation chooses (none: the recipe's), `given` the hyper-parameters of the config.
    """
    if not heads and recipe.features != AUTO:
        return {}
    readouts = READOUTS if recipe.features == AUTO else (recipe.features,)
    found: dict[str, Candidate] = {}
    for head in heads or (recipe.head,):
        if head == "attentive":
            rest = {name: value for name, value in given.items() if name != "features"}
            found[head] = Candidate(recipe=read_recipe(Recipe, ATTENTIVE, rest))
            continue
        baseline = "logreg" if head == "logreg" else None
        for features in readouts:
            of_features = recipe.model_copy(update={"features": features})
            found[f"{head}-{features}"] = Candidate(recipe=of_features, baseline=baseline)
    return found


def chosen(fitted: "Mapping[str, Fitted]") -> "Fitted":
    """Return the candidate that validation chooses, with the rows of all."""
    best = min(fitted, key=lambda name: fitted[name].validation_loss)
    rows = [
        {**row, "candidate": name, "candidate_loss": one.validation_loss, "chosen": name == best}
        for name, one in fitted.items()
        for row in one.rows
    ]
    losses = ", ".join(f"{name} {one.validation_loss:.4g}" for name, one in fitted.items())
    said = f"{best} has the lowest validation loss of {losses}; {fitted[best].said}"
    return fitted[best]._replace(rows=rows, said=said, candidate=best)
