"""Where a stage computes: `auto` is a GPU where one is visible, else the CPU; a GPU that was given and is not seen is a
fault."""

import pytest
import torch

from visionfm.errors import UsageError
from visionfm.runtime.devices import CORES, GIVEN, claim
from visionfm.runtime.processes import choose_device, decoding_processes


@pytest.fixture(autouse=True)
def laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in (CORES, GIVEN, "LOCAL_WORLD_SIZE", "SLURM_JOB_ID"):
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


def test_as_many_processes_decode_as_their_device_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 1)
    assert [decoding_processes(asked, gpu) for asked in (0, 3)] == [0, 3]
    assert (decoding_processes(None, cpu), decoding_processes(None, cpu, on_cpu=4)) == (2, 4)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    assert decoding_processes(None, gpu) == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # by torchrun: the others decode, too
    assert decoding_processes(None, gpu) == 3
    monkeypatch.setenv(CORES, "8")  # by `visionfm launch`: what the job was given
    assert decoding_processes(None, gpu) == 8
