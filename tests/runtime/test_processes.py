"""Where a stage computes: `auto` is a GPU where one is visible, else the CPU; a GPU that was given and is not seen is a
fault."""

import pytest
import torch

from visionfm.errors import UsageError
from visionfm.runtime.devices import GIVEN, claim
from visionfm.runtime.processes import choose_device


@pytest.fixture(autouse=True)
def laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in (GIVEN, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def test_auto_is_the_cpu_on_a_laptop_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_device("auto", 0, 0).type == choose_device("auto", 0, 1).type == "cpu"
    assert caplog.text.count("computes on the CPU") == 1


def test_the_cpu_by_choice_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_device("cpu", 4, 0).type == "cpu" and not caplog.text


@pytest.mark.parametrize(("device", "gpu"), [("cuda", 0), ("auto", 1)])
def test_a_gpu_that_the_config_asks_for_must_be_there(device: str, gpu: int) -> None:
    with pytest.raises(UsageError, match="there is no GPU"):
        choose_device(device, gpu, 0)


def test_a_gpu_that_slurm_gave_must_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    claim(0)
    assert choose_device("auto", 0, 0).type == "cpu"
    claim(2)
    with pytest.raises(UsageError, match="2 GPUs were given"):
        choose_device("auto", 0, 0)


def test_a_visible_gpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert str(choose_device("auto", 0, 1)) == "cuda:1"
