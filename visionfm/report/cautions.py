"""What a reader has to know before the numbers."""

from visionfm.report.data import Results
from visionfm.report.headlines import all_headlines
from visionfm.report.sample_sizes import too_small
from visionfm.report.sections.audit import allowed_reasons, doubts
from visionfm.report.sections.comparison import better_baselines
from visionfm.report.sections.datasets import subjects_known
from visionfm.report.sections.encoders import is_untrained
from visionfm.report.sections.subgroups import worse
from visionfm.report.words import listed

FEW_SUBJECTS = 30
FEW_SEEN = 100_000  # images; published pretrainings saw hundreds of millions


def cautions(results: Results) -> list[str]:
    """Return one sentence or two for each thing that makes numbers doubtful."""
    found = []
    untrained = [name for name, metadata in results.encoders.items() if is_untrained(metadata)]
    if untrained:
        found.append(
            f"Untrained encoders (random weights): {listed(untrained)}. Their results are a floor, not the system's."
        )
    barely = [
        name
        for name, curves in results.pretraining.items()
        if results.plan.pretraining.block(name).from_nothing and curves["images"].iloc[-1] < FEW_SEEN
    ]
    if barely:
        found.append(
            f"Encoders whose pretraining saw fewer than {FEW_SEEN:,} images: {listed(barely)}. They may be no better "
            "than untrained ones."
        )
    if frozen := not_moved(results):
        found.append(
            f"Fine-tuning made nothing better on validation, so the result is the frozen encoder with its head: "
            f"{listed(frozen)}."
        )
    unknown = [tables.name for tables in results.datasets if not subjects_known(tables)]
    if unknown:
        found.append(
            f"No subject ids in {listed(unknown)}: each image counts as a person of its own, so intervals there may "
            "be too narrow, and one person's images may be both in training and in test data."
        )
    small = [line for line in all_headlines(results) if 0 < line.subjects < FEW_SUBJECTS]
    few = sorted({f"{line.task} / {line.target} on {line.tested_on} ({line.subjects})" for line in small})
    if few:
        found.append(f"Fewer than {FEW_SUBJECTS} test subjects: {listed(few)}. Read the intervals, not the values.")
    if small_tests := too_small(results):
        found.append(
            "Tests too small for precise numbers, by what was seen of the first model (Riley et al. 2021): "
            f"{'; '.join(small_tests)}."
        )
    if better := better_baselines(results):
        found.append(
            f"A baseline on the same features has the better value than the decoder: {listed(better)}. Whether this is "
            "more than chance stands under Comparisons."
        )
    if groups := worse(results):
        found.append(f"By more than chance the decoder is worse for some than for others: {listed(groups)}.")
    unreadable = {tables.name: int((tables.images["status"] != "ok").sum()) for tables in results.datasets}
    left_out = [f"{name} ({number_of:,})" for name, number_of in unreadable.items() if number_of]
    if left_out:
        found.append(
            f"Images were left out because they cannot be read: {listed(left_out)}. They are listed under Data."
        )
    found += [
        f"Allowed overlap in task {task}, {reason}"
        for task, rows in results.audits.items()
        for reason in allowed_reasons(rows)
    ]
    named = results.config.report.ids == "shown"
    doubted: dict[str, list[str]] = {}  # tasks of the same data have the same doubts: each is said once
    for task, rows in results.audits.items():
        for doubt in doubts(rows, named):
            doubted.setdefault(doubt, []).append(task)
    found += [f"In task{'s' * (len(tasks) > 1)} {listed(tasks)}, {doubt}." for doubt, tasks in doubted.items()]
    return found


def not_moved(results: Results) -> list[str]:
    """Return the fine-tuned decoders whose best epoch is 0, before any encoder moved."""
    found = []
    for result in results.results:
        if results.config.tasks[result.task].training.mode != "finetune":
            continue
        for run, table in result.training.items():
            best = table[table["best"]]
            if "epoch" in table.columns and len(best) and int(best.iloc[-1]["epoch"]) == 0:
                found.append(f"{result.task} / {result.model} ({run})")
    return found
