"""What artefacts say to the items of checklists: name -> a sentence and where it stands; what is not there is empty.

Invariant: a sentence has a value of this run, or says what the pipeline always does; nothing is said from nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

from visionfm.report.cautions import cautions
from visionfm.report.data import Results
from visionfm.report.paper.facts import Facts, TaskFacts
from visionfm.report.paper.flow import Flow
from visionfm.report.sample_sizes import sizes, too_small
from visionfm.report.words import count, listed
from visionfm.tasks.maps.block import MapTask

METHODS, PAGE = "methods.md", "../index.html"


class Evidence(NamedTuple):
    """A sentence, and the file or page that has the whole of it."""

    text: str
    link: str = METHODS


SITES = {"hospital", "country"}  # names of groups that can only be places


def evidence(results: Results, known: Facts, flows: list[Flow], tables: list[str]) -> dict[str, Evidence]:
    """Return what this run says, by name; `tables` are the names of the paper's tables."""
    found = {name: one for part in (_data, _models, _results) for name, one in part(results, known, flows, tables)}
    return {name: one for name, one in found.items() if one.text}


def _table(tables: list[str], start: str) -> str:
    return next((f"tables/{name}.csv" for name in tables if name.startswith(start)), METHODS)


Found = Iterator[tuple[str, Evidence]]


def _data(results: Results, known: Facts, flows: list[Flow], tables: list[str]) -> Found:
    if not known.datasets:
        return
    files = sum(data.files for data in known.datasets)
    yield "data", Evidence(f"{count(len(known.datasets), 'dataset')} with {count(files, 'image')}.")
    if known.encoders:
        px = listed(sorted({f"{one.metadata['image_size']} px" for one in known.encoders}))
        yield "preprocessing", Evidence(f"Resized to {px} unless a task says otherwise, normalised; values by encoder.")
        modalities = listed(dict.fromkeys(data.modality for data in known.datasets))
        timed = [task.name for task in known.tasks if _is_timed(task)]
        beside = f"; in {listed(timed)} the time between visits too" if timed else ""
        yield "predictors", Evidence(f"Images ({modalities}){beside}, through an encoder; nothing was selected.")
        yield "nobody_judges", Evidence("Nobody judges an image before the model: its pixels are the predictor.")
    bad = sum(data.files - data.readable for data in known.datasets)
    yield (
        "checks",
        Evidence(f"Every file was decoded: {count(bad, 'image')} could not be read. Splits were audited.", PAGE),
    )
    graded = [data.name for data in known.datasets if data.agreement]
    yield "agreement", Evidence(f"Kappa of graders of {listed(graded)}." if graded else "", METHODS)
    shown = results.config.report.ids == "shown"
    hidden = (
        ""
        if shown
        else "But in the authors' own words, no file name and no id of a person stands in the report or here."
    )
    yield "privacy", Evidence(hidden, PAGE)
    if not known.tasks:
        return
    yield "targets", Evidence("; ".join(f"{task.name}: {_targets(task)}" for task in known.tasks) + ".")
    used = [f"{flow.task}: {flow.found.images:,} found, {flow.used.images:,} used" for flow in flows]
    yield "flow", Evidence("; ".join(used) + ".", "flow.svg")
    left = [(flow.task, sum(flow.unreadable.values()) + sum(flow.left_out.values())) for flow in flows]
    unused = "; ".join(f"{task}: {count(number, 'image')} left out" for task, number in left)
    yield "missing", Evidence(f"Nothing was imputed. {unused}.", _table(tables, "flow_"))
    yield "division", Evidence(f"By {_levels(known)}; sizes of each split by task.", _table(tables, "characteristics_"))
    by_image = [data.name for data in known.datasets if data.labelled and data.block.split.by != "subject"]
    unknown = [data.name for data in known.datasets if data.labelled and data.subjects is None]
    broken = any(task.leaks for task in known.tasks)
    whole = not (by_image or unknown or broken)
    yield "disjoint", Evidence("The person: the audit found nobody in two splits." if whole else "", PAGE)
    names = _table(tables, "characteristics_")
    yield "characteristics", Evidence("Samples, people and answers by split.", names)
    yield "differences", Evidence("Samples, people and answers of training and test data side by side.", names)
    alike = all(_drawn_alike(task, known) for task in known.tasks)
    same = "Training and test people were drawn at random from the same datasets: setting, eligibility, outcome and "
    yield "drawn_alike", Evidence(f"{same}predictors are the same." if alike else "")
    grouped = [name for name in tables if name.startswith("subgroups_")]
    yield "groups", Evidence("Performance by group, with tests." if grouped else "", _table(tables, "subgroups_"))


def _targets(task: TaskFacts) -> str:
    return listed(f"{name} ({can_be})" for name, _, can_be in task.targets)


def _drawn_alike(task: TaskFacts, known: Facts) -> bool:
    """Tell whether chance alone has told a task's training data from its test data, as far as the config says so."""
    used = [data.block for data in known.datasets if data.name in task.block.datasets]
    drawn = all(
        block.split.test is not None
        and block.layout == "table"
        and block.columns.split is None
        and not block.split.like
        for block in used
    )
    return not (task.given or task.block.external) and bool(task.folds or (used and drawn))


def _levels(known: Facts) -> str:
    folded = [task.name for task in known.tasks if task.folds]
    levels = listed(dict.fromkeys(data.block.split.by for data in known.datasets if data.labelled))
    return levels + (f", in folds of people in {listed(folded)}" if folded else "")


def _models(results: Results, known: Facts, flows: list[Flow], tables: list[str]) -> Found:
    versions = known.versions
    code = f"visionfm {versions['visionfm']} (Apache-2.0), torch {versions['torch']}; the config stands on the page."
    yield "code", Evidence(code, PAGE)
    if not known.tasks:
        return
    yield "developed", Evidence(f"Decoders were {known.developed}.")
    timed = listed(task.name for task in known.tasks if _is_timed(task))
    asked_for = f", and the time in which progression is asked for in {timed}" if timed else ""
    yield "use", Evidence(f"A user gives image files{asked_for}; nobody marks, measures or crops anything in them.")
    hyper = _table(tables, "hyperparameters_")
    trained = [task for task in known.tasks if not task.given]
    recipes = "; ".join(f"{task.name}: recipe {task.recipe_name}, head {_head(task)}" for task in trained)
    yield "model", Evidence(f"{recipes}." if trained else "", hyper)
    several = [task.name for task in trained if task.candidates]
    chosen = (
        f"The epoch{', and in ' + listed(several) + ' the decoder,' if several else ''} was chosen on validation data"
    )
    yield "selection", Evidence(f"{chosen}; test data chose nothing." if trained else "")
    origins = [f"{one.name}: {_origin(one.untrained, one.here)}" for one in known.encoders]
    seeds = listed(dict.fromkeys(seed for task in trained for seed in task.block.seeds)) if trained else ""
    yield "initial", Evidence(f"{'; '.join(origins)}; heads at random, seed {seeds}." if trained else "")
    imbalance = "; ".join(f"{task.name}: {_imbalance(task)}" for task in trained)
    yield "imbalance", Evidence(f"{imbalance}." if trained else "", hyper)
    local = [name for name in results.recalibrations if len(results.recalibrations[name])]
    tried = f"Recalibration by few local people was tried in {listed(local)}; no decoder was changed by it."
    recalibrated = _table(tables, "recalibration_")
    yield "updating", Evidence(tried if local else "No decoder was updated after it was tested.")
    updated = "Calibration by the number of local people." if local else "None: no decoder was updated."
    yield "updated", Evidence(updated, recalibrated)
    flips = [task.name for task in known.tasks if task.block.tta == "flips"]
    folds = [task.name for task in known.tasks if task.folds]
    asked = "Each decoder was applied to the test samples as they are"
    asked += f"; in {listed(folds)} to those of its own fold" if folds else ""
    asked += f"; in {listed(flips)} the answers to flipped views were averaged" if flips else ""
    yield "predictions", Evidence(f"{asked}.")
    together = f"Views were averaged in {listed(flips)}. " if flips else ""
    together += f"Each person was answered by one fold's decoder in {listed(folds)}." if folds else ""
    yield "ensembles", Evidence(together.strip() or "None: one decoder answers at a time.")
    kinds = "; ".join(f"{task.name}: {_targets(task)}" for task in known.tasks)
    points = dict.fromkeys(point for task in known.tasks for point in task.points)
    calls = f" Calls of yes or no at {listed(['0.5', *points])}." if points else ""
    yield "output", Evidence(f"{kinds}.{calls}")
    kept = (
        "Every answer to a test sample is kept (predictions.parquet), and the digests of its images (samples.parquet)."
    )
    yield "kept", Evidence(kept)
    runs = listed(f"{result.task}/{result.model}/{result.runs[0]}" for result in results.results)
    yield "specification", Evidence(f"The decoders are files of this run ({runs}); sizes and values in tables.", hyper)
    licences = [one.licence or ("no licence of others" if one.untrained or one.here else "") for one in known.encoders]
    bound = listed(f"{one.name}: {licence}" for one, licence in zip(known.encoders, licences, strict=True))
    yield "restrictions", Evidence(f"Weights of encoders: {bound}; code: Apache-2.0." if all(licences) else "")
    framed = {data.name for data in known.datasets if data.block.frames is not None}
    can = [task.name for task in trained if not (isinstance(task.block, MapTask) or framed & set(task.block.datasets))]
    unlike = f"A package of {listed(can)} says of an image that is unlike the training images that it is doubtful."
    yield "quality", Evidence(unlike if len(can) == len(known.tasks) else "")
    bad = listed(f"{data.name}: {data.block.bad_images}" for data in known.datasets)
    yield (
        "poor_input",
        Evidence(f"An unreadable image is an error (fail) or left out (skip), never guessed: {bad}.", PAGE),
    )


def _is_timed(task: TaskFacts) -> bool:
    """Tell whether a decoder is given the time in which progression is asked for, as the published one is."""
    return bool(task.block.kind == "progression" and task.block.head_name() == "published")


def _imbalance(task: TaskFacts) -> str:
    """Return what was done about rare classes, as the recipe of a task's decoders says it."""
    if _is_timed(task):
        return "the published loss weighs progression ten times"
    if task.block.kind not in ("classification", "ordinal", "segmentation"):
        return "there are no classes"
    done = ["rare classes weigh more in the loss"] * (task.recipe["class_weighting"] == "balanced")
    done += ["classes were drawn equally often"] * bool(task.recipe.get("class_balanced"))
    return listed(done) if done else "classes were neither weighted nor resampled"


def _head(task: TaskFacts) -> str:
    return str(task.recipe.get("head", "not named"))


def _origin(untrained: bool, here: bool) -> str:
    return "random weights" if untrained else "pretrained by this software" if here else "given weights"


def _results(results: Results, known: Facts, flows: list[Flow], tables: list[str]) -> Found:
    valued = [line for line in known.headlines if line.value is not None]
    best = [f"{line.task}, {line.model}, {line.target} on {line.tested_on}: {line.name} {line.text}"
            + (f" ({line.interval})" if line.interval else "") for line in valued[:2]]  # fmt: skip
    more = f"; {len(valued) - 2:,} more" if len(valued) > 2 else ""
    yield "performance", Evidence(f"{'; '.join(best)}{more}." if valued else "", _table(tables, "results"))
    counted = [
        f"{flow.task}: {listed(f'{part.lower()} {of.text}' for part, of in flow.parts.items())}" for flow in flows
    ]
    answers = _table(tables, "characteristics_")
    yield "events", Evidence(f"{'; '.join(counted)}; with the answers in the table." if counted else "", answers)
    if known.statistics.metrics:
        names = [name for of in known.statistics.metrics.values() for name in of.values()]
        yield "metrics", Evidence(f"{listed(dict.fromkeys(names[:6]))} and more, with figures.", METHODS)
    methods = list(dict.fromkeys([*known.statistics.paired, *known.statistics.between]))
    tests = f" Tests: {listed(methods)}." if methods else ""
    if known.statistics.intervals:
        yield "statistics", Evidence(f"95 % intervals over people.{tests}")
    named = {name for of in results.contrasts.values() for name in of["grouping"].dropna().unique()}
    places = sorted(named & SITES)
    apart_by = f"One decoder served all; its performance was measured, and tested, by {listed(places)}."
    yield "sites", Evidence(apart_by if places else "", _table(tables, "subgroups_"))
    between = any(name.startswith("external_") for name in tables)
    apart = "Each dataset was tested alone, and differences between datasets were tested."
    within = "Groups of people were tested alone, and their differences were tested."
    clusters = apart if between else within if places else ""
    yield "clusters", Evidence(clusters)
    beside = "Values of each dataset, and their differences." if between else "Values of each group." if places else ""
    yield "differences_of_clusters", Evidence(beside, _table(tables, "external_" if between else "subgroups_"))
    outside = [task.name for task in known.tasks if task.block.external]
    yield "external", Evidence(f"In {listed(outside)}." if outside else "", _table(tables, "external_"))
    fewer = [name for name in tables if "fewer_modalities" in name]
    yield "robustness", Evidence("Measured with fewer modalities." if fewer else "", _table(tables, (fewer + [""])[0]))
    asked = [one for result in results.results for one in sizes(result)]
    small = too_small(results)
    enough = "The tests are large enough by Riley et al. 2021, from what was seen of the first model."
    yield "sample_size", Evidence("; ".join(small) if small else enough if asked else "")
    confused = [line.task for line in valued if results.config.tasks[line.task].kind in ("classification", "ordinal")]
    yield "failures", Evidence("Confusions of classes as figures." if confused else "", "figures/")
    found = cautions(results)
    further = f" {len(found) - 3} more stand on the page." if len(found) > 3 else ""
    yield "cautions", Evidence(" ".join(found[:3]) + further if found else "", PAGE)
