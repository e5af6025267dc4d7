"""The model card, with the head that Hugging Face reads, and a datasheet per dataset."""

from typing import Any

from visionfm.metrics.written import MINUS
from visionfm.metrics.written import missing as is_missing
from visionfm.report.cautions import cautions
from visionfm.report.data import Results
from visionfm.report.paper.facts import EncoderFacts, Facts
from visionfm.report.paper.references import References
from visionfm.report.paper.texts import text

# Hugging Face's names of licences; any other one is `other`, with its own name beside it.
LICENCES = {
    "Apache-2.0": "apache-2.0",
    "CC BY-NC 4.0": "cc-by-nc-4.0",
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0",
    "CC BY 4.0": "cc-by-4.0",
    "MIT": "mit",
}
UNKNOWN = "unknown"
PIPELINES = {  # Hugging Face's names of kinds of tasks; the others have none there
    "classification": "image-classification",
    "ordinal": "image-classification",
    "segmentation": "image-segmentation",
    "landmarks": "keypoint-detection",
}


def model_card(results: Results, known: Facts, references: References) -> str:
    """Return the card of all models of the run."""
    import yaml

    head = yaml.safe_dump(_head(known), sort_keys=False, allow_unicode=True, width=110)
    body = text("model_card.md.j2", references, facts=known, doubts=cautions(results), results=results)
    return f"---\n{head}---\n\n{body}"


def _head(known: Facts) -> dict[str, Any]:
    licence, name = _licence(known.encoders)
    given = [one for one in known.encoders if not one.here and not one.untrained]
    return {
        "license": licence,
        **({"license_name": name} if licence == "other" else {}),
        "library_name": "visionfm",
        "tags": ["ophthalmology", "medical-imaging", *dict.fromkeys(task.block.kind for task in known.tasks)],
        "base_model": [str(one.origin.get("name")) for one in given],
        "datasets": [data.name for data in known.datasets],
        "metrics": list(dict.fromkeys(line.metric for line in known.headlines)),
        "model-index": _index(known),
    }


def _licence(encoders: list[EncoderFacts]) -> tuple[str, str]:
    """Return the strictest that can be said: one licence of all weights, or `other` and the names of all."""
    names = list(dict.fromkeys(one.licence or UNKNOWN for one in encoders if not one.here and not one.untrained))
    if len(names) == 1 and names[0] in LICENCES:
        return LICENCES[names[0]], names[0]
    return ("other", "; ".join(names)) if names else (UNKNOWN, UNKNOWN)


def _index(known: Facts) -> list[dict[str, Any]]:
    kinds = {task.name: task.block.kind for task in known.tasks}
    found: dict[str, list[dict[str, Any]]] = {}
    for line in known.headlines:
        if line.value is None:
            continue
        limits = f" (95 % interval {line.interval})" if line.interval else ""
        metric = {
            "type": line.metric,
            "value": float(line.text.replace(MINUS, "-")),
            "name": f"{line.name} of {line.target}{limits}",
        }
        found.setdefault(line.model, []).append(
            {
                "task": {"type": PIPELINES.get(kinds[line.task], "other"), "name": line.task},
                "dataset": {"type": line.dataset, "name": line.tested_on, "split": "test"},
                "metrics": [metric],
            }
        )
    return [{"name": model, "results": lines} for model, lines in found.items()]


def datasheets(results: Results, known: Facts, references: References) -> dict[str, str]:
    """Return a datasheet per dataset: name of the file -> text."""
    found = {}
    for data, tables in zip(known.datasets, results.datasets, strict=True):
        columns = []
        for name in tables.label_columns:
            column = tables.labels[name]
            columns.append((name, int(column.notna().sum()), int(column.isna().sum()), int(column.dropna().nunique())))
        used = [task.name for task in known.tasks if data.name in (*task.block.datasets, *task.block.external)]
        groups = list(data.block.columns.group_columns)
        visits = sum(not is_missing(value) for value in tables.labels["visit"])
        found[f"datasheets/{data.name}.md"] = text(
            "datasheet.md.j2", references, data=data, columns=columns, used=used, groups=groups, visits=visits,
            study=known.study, hashed=data.block.ids is not None,
        )  # fmt: skip
    return found
