"""`visionfm doctor` says what a machine can do, and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from visionfm.commands import doctor


@pytest.fixture(autouse=True)
def no_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_gpus", lambda: [("gpu", "not asked")])


def test_facts_name_packages_cpu_disk_and_links(tmp_path: Path) -> None:
    facts = dict(doctor.facts(tmp_path))
    assert {"python", "torch", "snakemake", "cpu", "gpu", "slurm", "disk"} <= set(facts)
    assert "cores" in facts["cpu"] and "GB free" in facts["disk"] and facts["disk"].endswith("hard links work")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert "do not work (Operation not permitted)" in dict(doctor.facts(tmp_path))["disk"]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_does_not_exist_yet_is_judged_by_where_it_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dict(doctor.facts(tmp_path / "none"))["disk"].endswith("hard links work")


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package-of-mine",))
    assert dict(doctor.facts(tmp_path))["no-such-package-of-mine"].startswith("MISSING")
