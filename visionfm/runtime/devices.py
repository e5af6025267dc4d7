"""Claiming GPUs on a machine without a scheduler: two jobs never compute on the same device.

A claim is a lock on a file of the device's name, held by the process that computes: however that ends, the claim ends
with it. All jobs, Snakemake runs and users of the machine share the files. Under SLURM, which hands out devices itself,
nothing is claimed; nor with VISIONFM_SHARE_GPUS=1.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from visionfm.errors import UsageError

LOCKS = "/tmp/visionfm-gpus"
GIVEN = "VISIONFM_GPUS_GIVEN"
CORES = "VISIONFM_CORES"  # of each process of a job
VISIBLE, SHARE, LOCKS_AT = "CUDA_VISIBLE_DEVICES", "VISIONFM_SHARE_GPUS", "VISIONFM_GPU_LOCKS"
LOOK_EVERY_S, SAY_EVERY_S = 2.0, 600.0
log = logging.getLogger("visionfm")


def claim(count: int) -> None:
    """Wait until `count` devices are free, lock them, and make them the only ones that this process sees.

    The locks live as long as the process, and whatever it becomes by exec. UsageError where the machine has fewer.
    Under SLURM the stage is told what the job was given: a device that it then does not see is a fault.
    """
    if "SLURM_JOB_ID" in os.environ:
        if count:
            os.environ[GIVEN] = str(count)
        return
    if count == 0 or os.environ.get(SHARE) == "1":
        return
    pool = present()
    if not pool:
        return  # the stage computes on the CPU, or says that it needs a GPU
    if count > len(pool):
        raise UsageError(
            "more GPUs are asked for than there are",
            expected=f"at most {len(pool)}",
            found=f"{count}",
            where=f"{VISIBLE}={os.environ[VISIBLE]}" if VISIBLE in os.environ else "nvidia-smi -L",
            do="lower `resources: {gpu: ...}` in the config",
        )
    folder = Path(os.environ.get(LOCKS_AT, LOCKS))
    said = -SAY_EVERY_S
    while len(taken := _lock_free(folder, pool, count)) < count:
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            log.info("waiting for %d of %d GPUs; the others are claimed in %s", count, len(pool), folder)
        time.sleep(LOOK_EVERY_S)
    for descriptor in taken.values():
        os.set_inheritable(descriptor, True)
    os.environ[VISIBLE] = ",".join(taken)


def present() -> list[str]:
    """Return the devices that may be claimed: those of CUDA_VISIBLE_DEVICES, else all, by their unique names."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=120, check=False)
    return unique_names(said.stdout) if said.returncode == 0 else []


def unique_names(listing: str) -> list[str]:
    """Return the UUIDs in what `nvidia-smi -L` prints; a device cut into MIG slices stands for them."""
    names: list[str] = []
    whole = ""
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)\)", listing):
        if name.startswith("GPU"):
            whole = name
        elif names and names[-1] == whole:
            names.pop()
        names.append(name)
    return names


def _lock_free(folder: Path, pool: list[str], count: int) -> dict[str, int]:
    """Return the first `count` devices that could be locked, with the files that hold the locks; none, or all of them.

    Jobs that want several devices never hold some while they wait for others.
    """
    taken: dict[str, int] = {}
    for name in pool:
        descriptor = _open(folder, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        taken[name] = descriptor
        if len(taken) == count:
            return taken
    for descriptor in taken.values():
        os.close(descriptor)
    return {}


def _open(folder: Path, name: str) -> int:
    """Open a lock file that every user of the machine may open."""
    path = folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lock"
    try:
        folder.mkdir(exist_ok=True)
        with suppress(PermissionError):  # another user's: already open to all
            folder.chmod(0o1777)
        try:
            # Without O_CREAT first: kernels refuse that for another user's file in such a folder.
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.fchmod(descriptor, 0o666)
            return descriptor
    except OSError as error:
        raise UsageError(
            "a GPU's lock file cannot be opened",
            found=error.strerror,
            where=path,
            do=f"name another folder in {LOCKS_AT}, the same for all jobs, or share the GPUs with {SHARE}=1",
        ) from error
