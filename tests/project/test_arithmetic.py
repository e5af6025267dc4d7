"""`precision: auto` is settled once, where a run is planned; jobs and other machines then see what was chosen."""

from pathlib import Path

import pytest

from visionfm.errors import ConfigError, UsageError
from visionfm.project.arithmetic import CHOSEN, asking, begin, settled
from visionfm.project.loading import load_config, planned_config
from visionfm.project.plan import Plan
from visionfm.runtime import devices, precision

TEXT = """
encoders:
  slow: {modality: CFP, weights: random, arch: vit_tiny_patch16_224}
  own: {modality: CFP, weights: random, arch: vit_tiny_patch16_224, precision: auto}
models: {first: {CFP: slow}, second: {CFP: own}}
datasets: {photos: {modality: CFP, root: photos, layout: imagefolder}}
tasks: {}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONFM_PLANNED_CONFIG", "")
    monkeypatch.setattr(devices, "present", list)
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def processor(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    info = Path("cpuinfo")
    info.write_text(f"flags\t\t: fpu avx2 {flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", info.absolute())


@pytest.mark.parametrize(
    ("flags", "chosen"), [("avx512_bf16 amx_bf16", "bf16"), ("avx512_bf16", "bf16"), ("avx512f", "fp32")]
)
def test_it_is_bf16_where_the_processor_has_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, flags: str, chosen: str
) -> None:
    processor(monkeypatch, flags)
    planned = planned_config(config, planning=True)
    assert {name: encoder.precision for name, encoder in planned.encoders.items()} == {"slow": "fp32", "own": chosen}
    settings = Plan(planned).encoding.extract_settings("own", "photos")
    assert settings.precision == chosen
    assert planned_config(config, planning=False) == planned  # in a job


def test_another_machine_keeps_what_a_run_began_with(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, "amx_bf16")
    first = planned_config(config, planning=True)
    assert not CHOSEN.exists(), "planning alone, as a dry-run does, keeps nothing"
    (said,) = begin(asking(load_config(config), is_module=False), first, computes_here=True)
    assert said.startswith("encoder own: `precision: auto` is bf16")
    processor(monkeypatch, "avx2")
    assert planned_config(config, planning=True) == first
    (said,) = begin(asking(load_config(config), is_module=False), first, computes_here=True)
    assert str(CHOSEN) in said
    CHOSEN.unlink()
    assert planned_config(config, planning=True).encoders["own"].precision == "fp32"


def test_a_run_without_it_says_and_keeps_nothing(config: Path) -> None:
    config.write_text(TEXT.replace(", precision: auto", ""))
    written = load_config(config)
    assert begin(asking(written, is_module=False), settled(written), computes_here=False) == []
    assert not CHOSEN.exists()


@pytest.mark.parametrize(
    ("capability", "chosen"), [("9.0\n8.0\n", "bf16"), ("9.0\n7.5\n", "fp32"), ("[N/A]\n", "fp32")]
)
def test_gpus_are_asked_where_they_compute(
    config: Path, monkeypatch: pytest.MonkeyPatch, capability: str, chosen: str
) -> None:
    tools = Path("bin").absolute()
    tools.mkdir()
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{capability}'\n")
    (tools / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setattr(devices, "present", lambda: ["GPU-1"])
    processor(monkeypatch, "amx_bf16")
    assert settled(load_config(config)).encoders["own"].precision == chosen


def test_a_cluster_is_told_to_name_it(config: Path) -> None:
    with pytest.raises(UsageError, match="the machine that plans chooses") as refused:
        begin(["own"], planned_config(config, planning=True), computes_here=False)
    assert "encoders.own.precision" in str(refused.value) and "slow" not in str(refused.value)


def test_a_module_is_told_to_name_it_too(config: Path) -> None:
    with pytest.raises(UsageError, match="nothing keeps the choice of a module's plan"):
        asking(load_config(config), is_module=True)


def test_names_that_yaml_takes_for_values_keep_their_choice(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(TEXT.replace("own:", '"true":').replace(": own", ': "true"'))
    processor(monkeypatch, "amx_bf16")
    begin(["true"], planned_config(config, planning=True), computes_here=True)
    processor(monkeypatch, "avx2")
    assert planned_config(config, planning=True).encoders["true"].precision == "bf16"


def test_a_choice_that_is_none_is_an_error(config: Path) -> None:
    CHOSEN.parent.mkdir()
    CHOSEN.write_text("own: fp64\n")
    with pytest.raises(ConfigError, match="fp64"):
        planned_config(config, planning=True)
