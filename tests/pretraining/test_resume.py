"""A training that was stopped goes on bit for bit: by either signal, at any step, killed while it saves."""

import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from world.counts import times
from world.small_training import Small

from visionfm import artifacts
from visionfm.cli import main
from visionfm.pretraining import training

FORKS = multiprocessing.get_context("forkserver")  # torch is imported once, not for each life
FORKS.set_forkserver_preload(["visionfm.pretraining.training"])


def clean_bytes(small: Small, settings: Any) -> tuple[bytes, bytes]:
    """What an uninterrupted run writes; it is removed again."""
    assert small.run(settings) == 0
    written = small.out.read_bytes(), small.curves.read_bytes()
    forget(small)
    return written


def forget(small: Small) -> None:
    for folder in (small.out.parent, artifacts.kept_path(small.out.parent)):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def stopped_after(steps: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal once a training has done `steps` more steps."""
    original, left = training.Training._learn, [steps]

    def learn(self: Any, *given: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.Signals(number))
        return original(self, *given)

    monkeypatch.setattr(training.Training, "_learn", learn)


LOCAL = {"augment": {"local_crops": 1, "local_size": 32}}


@pytest.mark.parametrize(
    ("name", "epochs", "enough", "fields"),
    [
        ("published", 16, 20, LOCAL),
        ("modern", 3, 3, LOCAL),
        ("token_reconstruction", 3, 3, {}),
        ("instances", 3, 3, {"lora": {"rank": 2}}),
    ],
)
def test_stopped_at_20_random_steps_by_both_signals_the_encoder_is_the_same(
    name: str, epochs: int, enough: int, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(tmp_path)
    settings = small.settings(name, epochs=epochs, **fields)
    written = clean_bytes(small, settings)
    steps, stops = random.Random(0), 0
    for _ in range(2 * epochs):
        with monkeypatch.context() as patched:
            stopped_after(steps.randint(1, 2), (signal.SIGTERM, signal.SIGUSR1)[stops % 2], patched)
            ended = small.run(settings)
        if ended == 0:
            break
        assert ended == 75
        stops += 1
        assert len(list(small.out.parent.glob("pretraining/*/step-*"))) <= 2
    assert stops >= enough
    assert (small.out.read_bytes(), small.curves.read_bytes()) == written


def test_killed_in_the_middle_of_saving_the_checkpoint_before_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(tmp_path)
    settings = small.settings(epochs=4)
    written = clean_bytes(small, settings)
    # A process that dies while it writes: half of a checkpoint under a temporary name, and one torn by the disk.
    with monkeypatch.context() as patched:
        stopped_after(5, signal.SIGTERM, patched)
        assert small.run(settings) == 75
    newest, before = sorted(small.out.parent.glob("pretraining/*/step-*"), reverse=True)
    whole = newest.read_bytes()
    newest.unlink()
    newest.write_bytes(whole[: len(whole) // 2])
    newest.with_name(f".{newest.name}.0.tmp").write_bytes(whole[:100])
    assert small.run(settings) == 0
    assert (small.out.read_bytes(), small.curves.read_bytes()) == written
    assert before.exists() is False or before.name < newest.name


def newest(small: Small) -> int:
    """The step of the newest checkpoint, 0 without one."""
    return max((int(path.stem[5:]) for path in small.out.parent.glob("pretraining/*/step-*.safetensors")), default=0)


def wait_for_progress(small: Small, step: int) -> None:
    deadline = time.monotonic() + 300
    while newest(small) <= step and time.monotonic() < deadline:
        time.sleep(0.02)
    assert newest(small) > step


@pytest.mark.slow
def test_killed_outright_20_times_while_every_step_is_saved_the_encoder_is_the_same(tmp_path: Path) -> None:
    small = Small(tmp_path)
    settings = small.settings(epochs=100, checkpoint_minutes=1e-6)
    written = clean_bytes(small, settings)
    wait, at = random.Random(1), []
    for _ in range(20):
        process = FORKS.Process(target=main, args=(small.arguments(settings),))
        process.start()
        wait_for_progress(small, newest(small))
        time.sleep(0.1 * wait.random())
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        at.append(newest(small))
    assert at == sorted(set(at)) and at[-1] < 200, at
    assert small.run(settings) == 0
    assert (small.out.read_bytes(), small.curves.read_bytes()) == written


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_the_process_ends_with_75_after_its_step(sent: signal.Signals, tmp_path: Path) -> None:
    small = Small(tmp_path)
    process = small.start(small.settings(epochs=2000))
    wait_for_progress(small, 0)
    os.kill(process.pid, sent)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "run the same command again" in output


def train_as(rank: int, port: int, arguments: list[str]) -> None:
    """Be one of two processes of a training, with what torchrun would put into the environment."""
    of_two = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.update(of_two, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    sys.exit(main(arguments))


def start_two(small: Small, settings: Any) -> list[ForkServerProcess]:
    """Start both, without torchrun: nobody ends the other when one is lost, as when its node is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [FORKS.Process(target=train_as, args=(rank, port, small.arguments(settings))) for rank in range(2)]
    for process in both:
        process.start()
    return both


def ends(both: list[ForkServerProcess]) -> list[int | None]:
    for process in both:
        process.join(timeout=300)
    return [process.exitcode for process in both]


def test_two_processes_of_which_one_or_both_are_killed_end_in_the_bytes_of_two_left_alone(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    small, kills = Small(tmp_path), times(30, 3)
    settings = small.settings(epochs=max(40, 6 * kills), checkpoint_minutes=1e-6)
    assert ends(start_two(small, settings)) == [0, 0]
    written = small.out.read_bytes(), small.curves.read_bytes()
    forget(small)
    wait, at = random.Random(os.environ.get("FAULTS_SEED", "")), [0]
    for number in range(kills):
        both = start_two(small, settings)
        wait_for_progress(small, at[-1])
        time.sleep(0.1 * wait.random())
        lost = ([0], [1], [0, 1])[number % 3]
        for rank in lost:
            both[rank].kill()
        # The other ends as well, by itself: with an error of data, since it was not stopped.
        assert ends(both) == [-signal.SIGKILL if rank in lost else 3 for rank in range(2)], number
        at.append(newest(small))
    assert at == sorted(set(at)) and at[-1] < 2 * settings.recipe.epochs, at
    assert ends(start_two(small, settings)) == [0, 0]
    assert (small.out.read_bytes(), small.curves.read_bytes()) == written
    record_property("tried", kills)


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_go_on_when_one_or_both_were_killed(tmp_path: Path) -> None:
    small = Small(tmp_path)
    settings = small.settings(epochs=6)
    assert small.run(settings) == 0
    alone = pq.read_table(small.curves).to_pydict()
    forget(small)
    assert small.start(settings, processes=2).wait(timeout=300) == 0
    together = pq.read_table(small.curves).to_pydict()
    assert together["loss"] == pytest.approx(alone["loss"], abs=1e-5)
    assert together["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-3)
    forget(small)
    assert small.start(settings.model_copy(update={"fsdp": True}), processes=2).wait(timeout=300) == 0
    sharded = pq.read_table(small.curves).to_pydict()
    assert sharded["loss"] == pytest.approx(alone["loss"], abs=1e-5)
    forget(small)
    longer = small.settings(epochs=200, checkpoint_minutes=1e-6)
    for whom in ("one", "both"):
        process = small.start(longer, processes=2)
        wait_for_progress(small, newest(small))
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for child in children[: 1 if whom == "one" else 2]:
            os.kill(int(child), signal.SIGKILL)
        assert process.wait(timeout=120) != 0
    before = newest(small)
    process = small.start(longer)  # another number of processes may go on
    wait_for_progress(small, before)
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert "goes on after step" in output and process.returncode == 75
