"""What an audit finds: one finding about one image, or about two; and the words that its parts share."""

from operator import attrgetter
from typing import NamedTuple

PLACE = attrgetter("place")
FOLDS = "folds"  # the split of what a task divides into folds: by person and bytes, and all of it is tested
TESTED = ("test", FOLDS)
COPY = "copies of one photograph, or two of one eye taken together"


class Finding(NamedTuple):
    """One finding about one image, or about two; severity is leak, allowed (leak with a reason), error or note."""

    check: str
    severity: str
    dataset: str
    path: str
    split: str | None
    other_dataset: str | None
    other_path: str | None
    other_split: str | None
    detail: str
    reason: str | None = None
