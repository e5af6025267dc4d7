"""The model card of a package: what it is, for whom, learned from whom, how good, and what is not known.

Numbers are those of metrics.parquet, with n and interval; names of patients and files stand in none of them.
"""

from typing import Any

from visionfm.metrics.catalogue import headline, metric_name
from visionfm.metrics.written import at_point, interval, number, text_of
from visionfm.tasks.package.contents import Contents
from visionfm.tasks.runs import fold_of
from visionfm.tasks.target_types import answers, type_of

AT_POINTS = ("sensitivity", "specificity")
CHOSEN = "All were chosen on validation data, none on test data."
OF_FOLDS = (
    "All were chosen on what each person was answered by decoders that had this person as validation. Of folds these "
    "are one or a few decoders, not the mean of all that answers here, and the people are those of the table above: "
    "what a threshold or a set promises is not exact, and was not tested."
)
NOT_SAID = "not said: ask the owner before you use it"


def card(said: Contents, metrics: Any) -> str:
    """Return the card as Markdown; `metrics` are rows (a DataFrame) of the model's test data."""
    questions = [f"- {name}: {type_of(of.type, of.form).asks} ({answers(of.model_dump())})"
                 for name, of in said.targets.items()]  # fmt: skip
    several, folds = len(said.members) > 1, any(fold_of(one.run) is not None for one in said.members)
    parts = [
        f"# {said.task} by {said.model}",
        f"**Intended use.** {said.intended_use}",
        "It is research software and no medical device: nobody has approved it for patients.",
        "## What it answers",
        "\n".join(questions),
        f"From images of {', '.join(said.modalities)}; a sample is one {said.unit}. "
        + (f"The answer is the mean of {len(said.members)} decoders." if several else "One decoder answers."),
        "## What it learned from",
        ("The first decoder: " if folds else "")
        + ", ".join(f"{count} {said.unit}s of {split}" for split, count in said.trained_on.items())
        + (
            ". Each other decoder learned from another part of the same people, so that together they have seen "
            "everybody of this data."
            if folds
            else "."
        ),
        "## How good it was on the test data",
        _numbers(said, metrics),
        *(["These are the numbers of its decoders; their mean was not tested itself."] if several else []),
        "They hold for images like the test images. Of other cameras, clinics and people nothing is known.",
        "## Thresholds",
        _thresholds(said),
        OF_FOLDS if folds else CHOSEN,
        "## Licences",
        "\n".join(
            [f"- encoder {one.source} ({one.arch}, {one.modality}): {one.licence or NOT_SAID}" for one in said.encoders]
            + [f"- this package: {said.licence or NOT_SAID}"]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _numbers(said: Contents, metrics: Any) -> str:
    names = {headline(said.kind, of.type) for of in said.targets.values()}
    rows = metrics[(metrics["split"] == "test") & metrics["value"].notna()]
    rows = rows[rows["metric"].isin(names) | (rows["metric"].isin(AT_POINTS) & rows["operating_point"].notna())]
    rows = rows[rows["modality"].isin(["all"]) & rows["modalities"].isin(["all"])]
    if not len(rows):
        return "It was not tested."
    lines = [
        "| decoder | data | target | metric | value | 95 % interval | n | people |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows.to_dict("records"):
        what = f"{row['target']}" + (f", {row['class']}" if isinstance(row["class"], str) else "")
        point = at_point(row["metric"], text_of(row["operating_point"]))
        span = interval(row["ci_low"], row["ci_high"], row["metric"]) or "none"
        value = number(row["value"], row["metric"])
        cells = [row["run"], row["dataset"], what, metric_name(row["metric"]) + point, value, span]
        lines.append(f"| {' | '.join(map(str, [*cells, row['n'], row['n_subjects']]))} |")
    return "\n".join(lines)


def _thresholds(said: Contents) -> str:
    lines = []
    for one in said.questions:
        title = one.target if one.label is None else f"{one.target}, {one.label}"
        lines += [f"- {title} at {point}: yes from {threshold:.4g} on" for point, threshold in one.points.items()]
        if one.limit is not None:
            least = one.limit if isinstance(one.limit, str) else f"classes from {one.limit:.4g} on"
            lines.append(f"- {title}: the conformal set ({said.conformal:g}) has {least}")
    return "\n".join(lines) or "It has none."
