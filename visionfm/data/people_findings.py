"""What `audit` finds of people's ids: spelled twice, shared by cohorts or hardly, telling who somebody is."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations

from visionfm.data import spelling
from visionfm.data.findings import PLACE, Finding
from visionfm.data.labelled import Image, Labelled, of_people

PERSONAL = 0.1  # of a dataset's ids that seem to tell of a person: numbers of eight digits are dates by chance, too
FEW_IN_COMMON = 0.5  # of the smaller dataset's people: fewer, and a join is not what it seems


def spelled_twice(known: list[Labelled]) -> Iterator[Finding]:
    """Yield each pair of ids of a cohort that differ in their spelling alone: they would count as two people."""
    for cohort, subjects in sorted(_cohorts(known).items()):
        for one, *others in spelling.alike(subjects):
            for other in others:
                a, b = (_first(known, cohort, [subject]) for subject in (one, other))
                detail = f"subjects {one!r} and {other!r} of {cohort} differ in their spelling alone; "
                detail += spelling.advice(one, other)
                yield Finding("spelling", "error", a.dataset, a.path, a.split, b.dataset, b.path, b.split, detail)


def _cohorts(known: list[Labelled]) -> dict[str, set[str]]:
    """Return the ids of the people of each cohort."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in known:
        for subject_id in one.people.to_pylist():
            cohort, _, subject = subject_id.partition("/")
            found[cohort].add(subject)
    return found


def _first(known: list[Labelled], cohort: str, subjects: list[str]) -> Image:
    """Return the first image of some ids of a cohort."""
    return min(of_people(known, [f"{cohort}/{subject}" for subject in subjects]), key=PLACE)


def shared_ids(labelled: list[Labelled]) -> Iterator[Finding]:
    """Yield each two cohorts that have ids in common, in any spelling: are they the same people?"""
    cohorts = _cohorts(labelled)
    if len(cohorts) < 2:
        return
    spelled: dict[str, dict[str, list[str]]] = {cohort: defaultdict(list) for cohort in cohorts}
    for cohort, subjects in cohorts.items():
        for subject in subjects:
            spelled[cohort][spelling.written(subject, "digits")].append(subject)
    for one, other in combinations(sorted(spelled), 2):
        if common := sorted(spelled[one].keys() & spelled[other].keys()):
            a, b = (_first(labelled, cohort, spelled[cohort][common[0]]) for cohort in (one, other))
            listed = ", ".join(common[:5]) + (", ..." if len(common) > 5 else "")
            detail = (
                f"{len(common)} ids of cohort {one} are ids of cohort {other} too, in this or another spelling"
                f" ({listed}); if they are the same people, give the datasets one `cohort`"
            )
            yield Finding("shared_ids", "note", a.dataset, a.path, a.split, b.dataset, b.path, b.split, detail)


def few_in_common(labelled: list[Labelled]) -> Iterator[Finding]:
    """Yield each two datasets of a cohort that share less than half of the smaller one's people."""
    import pyarrow.compute as pc

    people = {one.dataset: found for one in labelled if len(found := one.people)}
    for one, other in combinations(sorted(people), 2):
        a, b = people[one], people[other]
        cohorts = {found[0].as_py().partition("/")[0] for found in (a, b)}
        if len(cohorts) > 1:
            continue
        common = pc.sum(pc.is_in(a, value_set=b)).as_py()
        if common < FEW_IN_COMMON * min(len(a), len(b)):
            everyone = len(a) + len(b) - common
            detail = f"{common} of {everyone} people are in both {one} and {other}, which share a cohort"
            yield Finding("few_in_common", "note", one, "", None, other, None, None, detail)


def personal(labelled: list[Labelled]) -> Iterator[Finding]:
    """Yield the datasets of whose ids a part seems to name people or their dates of birth; no id is repeated."""
    for one in labelled:
        subjects = [subject_id.partition("/")[2] for subject_id in one.people.to_pylist()]
        seeming = Counter(filter(None, map(spelling.personal, subjects)))
        for kind, number in sorted(seeming.items()):
            if number >= PERSONAL * len(subjects):
                what = {"names": "names of people", "dates": "dates, perhaps of birth"}[kind]
                detail = f"{number} of {len(subjects)} ids of {one.dataset} look like {what}; they stand in results: "
                detail += "`ids: {hash: KEYFILE}` replaces them"
                yield Finding("personal_ids", "note", one.dataset, "", None, None, None, None, detail)
