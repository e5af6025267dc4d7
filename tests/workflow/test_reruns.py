"""Reruns: each edit computes what it touches, once, and ends in the bytes of a clean run, also after failures.

Every case is also run with each rule failing once in between, and repaired.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from rerun_cases import ALWAYS, CASES, MORE, RULES, Case, shuffle_test_labels
from rerun_project import Call, Project, assert_same, without_orphans


def pairs() -> list[Any]:
    """All (case, rule); those of one case share a worker, and so its clean run."""
    return [
        pytest.param(
            name,
            rule,
            id=f"{name}, {rule} fails",
            marks=[pytest.mark.xdist_group(name), *([] if ALWAYS[rule] == name else [pytest.mark.slow])],
        )
        for name in CASES
        for rule in RULES
    ]


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Project, str], dict[str, bytes]]:
    """Run an edited project from nothing in a new folder; once a case."""
    known: dict[str, dict[str, bytes]] = {}

    def results(edited: Project, case: str) -> dict[str, bytes]:
        if case not in known:
            clean = edited.copy(tmp_path_factory.mktemp("clean") / "project", with_results=False)
            clean.run()
            known[case] = clean.results()
        return known[case]

    return results


def assert_computed(calls: list[Call], case: Case) -> None:
    """What the edit touches was computed, once, and nothing else."""
    outputs = Counter(call.output for call in calls if not call.unchanged)
    assert set(outputs.values()) <= {1}, f"computed twice: {outputs}"
    stages = Counter(call.stage for call in calls if not call.unchanged)
    assert dict(stages) == case.computed, [(call.stage, call.log) for call in calls]
    for words in case.said:
        assert any(words in call.log for call in calls), [call.log for call in calls]


def test_a_second_run_does_nothing_and_says_where_the_page_is(project: Project) -> None:
    done = project.snakemake()
    assert project.calls() == [] and done.returncode == 0
    assert "\nThe report: results/report/index.html\n" in done.stdout + done.stderr
    target = next(name for name in project.results() if name.endswith("images.parquet"))
    alone = project.snakemake(f"results/{target}")
    assert "Nothing to be done" in alone.stdout + alone.stderr and "The report" not in alone.stdout + alone.stderr


def test_forced_jobs_compute_nothing(project: Project) -> None:
    before = project.results()
    calls = project.run("-F")
    assert len(calls) > 20
    assert [call.stage for call in calls if not call.unchanged] == []
    assert_same(project.results(), before)


def plain() -> list[Any]:
    """All cases; those that another test runs with a failure in between, and checks as strictly, are slow."""
    failing = set(ALWAYS.values())
    return [
        pytest.param(name, marks=[pytest.mark.xdist_group(name), *([pytest.mark.slow] if name in failing else [])])
        for name in CASES
    ]


@pytest.mark.parametrize("name", plain())
def test_an_edit_computes_what_it_touches_and_ends_like_a_clean_run(
    name: str, project: Project, clean_run: Callable[[Project, str], dict[str, bytes]]
) -> None:
    case = CASES[name]
    case.edit(project)
    assert_computed(project.run(), case)
    assert project.run() == []
    expected = clean_run(project, name)
    assert_same(without_orphans(project.results(), expected), expected)


@pytest.mark.parametrize(("name", "rule"), pairs())
def test_an_edit_with_a_failing_rule_ends_like_a_clean_run(
    name: str, rule: str, project: Project, clean_run: Callable[[Project, str], dict[str, bytes]]
) -> None:
    case = CASES[name]
    case.edit(project)
    if f"rule {'import_encoder' if rule == 'import' else rule}:" not in project.snakemake("-n").stdout:
        assert ALWAYS[rule] != name
        return  # this edit does not reach the rule: the plain case covers it
    (project.folder / f"fail-{rule}").touch()
    calls = project.run(fails=True)
    assert not (project.folder / f"fail-{rule}").exists()
    calls += project.run()
    assert_computed(calls, case)
    assert project.run() == []
    expected = clean_run(project, name)
    assert_same(without_orphans(project.results(), expected), expected)


def test_shuffled_test_labels_leave_every_decoder_byte_equal(project: Project) -> None:
    before = {path: content for path, content in project.results().items() if path.endswith("decoder.safetensors")}
    shuffle_test_labels(project)
    project.run()
    after = {path: content for path, content in project.results().items() if path.endswith("decoder.safetensors")}
    assert before == after and len(before) == 3 + MORE


def test_a_lost_output_is_recalled_not_computed(project: Project) -> None:
    before = project.results()
    for path in project.folder.glob("results/features/*/*.h5"):
        path.unlink()
    calls = project.run()
    assert calls and all(call.unchanged for call in calls)
    assert_same(project.results(), before)


def test_a_lost_snakemake_folder_costs_no_computation(project: Project) -> None:
    before = project.results()
    shutil.rmtree(project.folder / ".snakemake")
    assert all(call.unchanged for call in project.run())
    assert_same(project.results(), before)


def test_every_log_lies_under_its_stage(project: Project) -> None:
    folder = project.folder / "results/logs"
    logs = {path.relative_to(folder).parts[0] for path in folder.rglob("*.log")}
    assert logs == set(RULES)
