"""Every reader of foreign bytes, tried on damaged and hostile ones: `make fuzz`, or `python tests/faults/fuzz.py 60`.

Each reader has a process of its own for so many seconds; a row of the table says what became of its cases. Invariant:
a case is read or refused by one of our errors; anything else, or one that takes over 5 s of CPU, is wrong.
"""

import argparse
import io
import json
import pickle
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve()
TESTS = HERE.parents[1]
sys.path[:0] = [str(TESTS), *(str(TESTS / room) for room in ("artifacts", "images", "project"))]

MOST_S, MOST_MB = 5.0, 3000
Case = tuple[str, Callable[[], object]]  # its name, and the reading of it


@dataclass
class Row:
    """What became of the cases of one reader."""

    tried: int = 0
    read: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    peak_mb: int = 0
    took_s: float = 0.0

    def line(self, name: str) -> str:
        """Return it as a row of a table."""
        counts = f"{self.tried:,} | {self.read:,} | {self.refused:,} | {len(self.wrong)}"
        return f"| {name} | {counts} | {self.longest_s:.2f} | {self.peak_mb:,} | {self.took_s / 3600:.3f} |"


# --- readers: endless cases from a seed -----------------------------------------------------------------------------


def tables(folder: Path, seed: int) -> Iterator[Case]:
    """CSV, TSV, workbooks and Parquet, odd and damaged, as `check` and `label` read them."""
    import numpy as np
    from world import hostile_files

    while True:
        rng = np.random.default_rng(seed)
        name, data = hostile_files.table(rng)
        (folder / name).write_bytes(hostile_files.damaged(rng, data) if rng.random() < 0.4 else data)
        yield f"table {seed}", lambda name=name, rng=rng: hostile_files.read_as_check_does(folder, name, rng)
        seed += 1


def volumes(folder: Path, seed: int) -> Iterator[Case]:
    """DICOM, Heidelberg, Topcon, Zeiss, NIfTI and numpy volumes, damaged."""
    import numpy as np
    from world import hostile_files

    for name, data in hostile_files.volumes():  # the process that reads starts, and imports what it needs
        (folder / name).write_bytes(data)
        hostile_files.read_as_index_does(folder / name)
    while True:
        rng = np.random.default_rng(seed)
        name, data = hostile_files.pick(rng, hostile_files.volumes())
        (folder / name).write_bytes(hostile_files.damaged(rng, data))
        yield f"{name} {seed}", lambda name=name: hostile_files.read_as_index_does(folder / name)
        seed += 1


def images(folder: Path, seed: int) -> Iterator[Case]:
    """JPEG, PNG, TIFF, BMP, GIF, WebP and others: cut, flipped, filled with zeros."""
    import numpy as np
    from world.hostile_files import damaged
    from world.image_files import WHOLE, decode, inspect

    from visionfm.errors import DataError

    def read(data: bytes) -> None:
        facts = inspect(data, folder, max_megapixels=1)
        if facts.status == "ok":
            assert decode(data, max_megapixels=1).shape == (facts.height, facts.width, 3)
        else:
            try:
                decode(data, max_megapixels=1)
            except DataError:
                raise
            raise AssertionError(f"{facts.status}, and decoded")

    names = sorted(WHOLE)
    while True:
        data = damaged(np.random.default_rng(seed), WHOLE[names[seed % len(names)]])
        yield f"{names[seed % len(names)]} {seed}", lambda data=data: read(data)
        seed += 1


def artefacts(suffix: str) -> Callable[[Path, int], Iterator[Case]]:
    """Our own formats: a few bytes changed under a seal that is right, so that the parser sees them."""

    def cases(folder: Path, seed: int) -> Iterator[Case]:
        import test_sealed_nonsense as sealed

        files = {name: both for name, both in sealed.FILES.items() if name.endswith(suffix)}
        whole = {}
        for name, (write, _) in files.items():
            write(folder / name)
            whole[name] = (folder / name).read_bytes()
        while True:
            name = sorted(files)[seed % len(files)]
            (folder / name).write_bytes(sealed.sealed_again(sealed.mutated(whole[name], random.Random(seed))))
            yield f"{name} {seed}", lambda name=name: files[name][1](folder / name)
            seed += 1

    return cases


def configs(folder: Path, seed: int) -> Iterator[Case]:
    """YAML of a config."""
    import test_hostile_yaml as hostile
    import yaml

    from visionfm.project.loading import load_config

    text, path = yaml.safe_dump(hostile.CONFIG), folder / "config.yaml"
    while True:
        path.write_bytes(hostile.changed(text, random.Random(seed)).encode("utf-8", "surrogatepass"))
        yield f"config {seed}", lambda: load_config(path)
        seed += 1


def points(_: Path, seed: int) -> Iterator[Case]:
    """`.npy` of landmarks."""
    import test_hostile_points as hostile

    data = hostile.whole()
    while True:
        content = hostile.changed(data, random.Random(seed))
        yield (
            f"npy {seed}",
            lambda content=content: hostile.read_points(content, hostile.NAMES, hostile.SIZE_WH, "a.npy"),
        )
        seed += 1


def weights(folder: Path, seed: int) -> Iterator[Case]:
    """`.pth` in both dialects and safetensors; a change of the pickle itself, or of any byte."""
    import zipfile

    import numpy as np
    import torch
    from safetensors.torch import save_file
    from world.hostile_files import damaged

    from visionfm.encoders.checkpoints import read_checkpoint

    state = {"norm.weight": torch.ones(8), "blocks.0.norm1.weight": torch.ones(8), "head": torch.ones(3, 4).half()}
    whole: dict[str, bytes] = {}
    for name, zipped in (("a.pth", True), ("b.pth", False)):
        file = io.BytesIO()
        torch.save({"teacher": state, "epoch": 3, "args": {"lr": 0.1}}, file, _use_new_zipfile_serialization=zipped)
        whole[name] = file.getvalue()
    save_file(state, folder / "c.safetensors")
    whole["c.safetensors"] = (folder / "c.safetensors").read_bytes()

    def inside(data: bytes, rng: np.random.Generator) -> bytes:
        """The archive, its checksums right, with a changed pickle."""
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as written:
            for entry in source.infolist():
                content = source.read(entry)
                written.writestr(entry.filename, damaged(rng, content) if entry.filename.endswith("pkl") else content)
        return target.getvalue()

    while True:
        rng = np.random.default_rng(seed)
        name = sorted(whole)[seed % len(whole)]
        changed = inside(whole[name], rng) if name == "a.pth" and rng.random() < 0.7 else damaged(rng, whole[name])
        (folder / name).write_bytes(changed)
        yield f"{name} {seed}", lambda name=name: read_checkpoint(folder / name)
        seed += 1


def pickles(folder: Path, seed: int) -> Iterator[Case]:
    """Pickles of anything, with and without code, as weights."""
    from visionfm.encoders.checkpoints import read_checkpoint

    opcodes = b"(.0123456789]}aehjlqrstu\x80\x81\x85\x86\x87\x88\x89\x8a\x8cBCGIJKLMNRSTUVX\x93\x94\x95"
    samples = [{"a": [1, 2.5, "x", None, True]}, {"t": (b"x" * 20, {1: 2}), "n": 10**30}, [{"k": {"k": []}}]]
    path = folder / "p.pth"
    while True:
        rng = random.Random(seed)
        data = bytearray(pickle.dumps(rng.choice(samples), rng.choice([0, 1, 2, 4])))
        for _ in range(rng.choice([1, 2, 4, 30])):
            at = rng.randrange(len(data))
            data[at : at + rng.choice([0, 1])] = bytes([rng.choice(opcodes)])
        path.write_bytes(bytes(data))
        yield f"pickle {seed}", lambda: read_checkpoint(path)
        seed += 1


READERS: dict[str, Callable[[Path, int], Iterator[Case]]] = {
    "weights (.pth, safetensors)": weights,
    "pickles as weights": pickles,
    "images": images,
    "volumes": volumes,
    "tables (CSV, xlsx, ods, Parquet)": tables,
    "YAML": configs,
    "HDF5 (ours)": artefacts(".h5"),
    "Parquet (ours)": artefacts(".parquet"),
    "zip (ours)": artefacts(".zip"),
    "safetensors (ours)": artefacts(".safetensors"),
    "JSON (ours)": artefacts(".json"),
    "HTML (ours)": artefacts(".html"),
    "npy of points": points,
}


# --- the run --------------------------------------------------------------------------------------------------------


def run(name: str, seconds: float, seed: int, most: int = 1 << 62) -> Row:
    """Try one reader for so many seconds (or cases), in this process."""
    from visionfm.errors import VisionFMError

    row, began = Row(), time.perf_counter()
    warnings.simplefilter("ignore")  # Pillow warns of corrupt metadata
    with tempfile.TemporaryDirectory() as folder:
        for case, read in READERS[name](Path(folder), seed):
            if not row.tried:
                began = time.perf_counter()  # imports and the like are over
            if row.tried >= most or time.perf_counter() - began > seconds:
                break
            start, row.tried = time.process_time(), row.tried + 1
            try:
                said = read()
                if isinstance(said, str) and "refused" in said:
                    row.refused += 1
                else:
                    row.read += 1
            except VisionFMError:
                row.refused += 1
            except BaseException:
                row.wrong.append(f"{case}: {traceback.format_exc(limit=-4)}")
            took = time.process_time() - start
            row.longest_s = max(row.longest_s, took)
            if took > MOST_S:
                row.wrong.append(f"{case}: {took:.1f} s")
        row.peak_mb = max(_own_peak_mb(), *_helpers_peak_mb())
    row.took_s = time.perf_counter() - began
    if row.peak_mb > MOST_MB:
        row.wrong.append(f"{row.peak_mb} MB of memory")
    return row


def _own_peak_mb() -> int:
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(used) // 1024


def _helpers_peak_mb() -> list[int]:
    """Return the most memory of processes that read for this one and still run."""
    from visionfm.images import guarded

    status = [Path(f"/proc/{process.pid}/status").read_text() for process in guarded._running]
    return [0, *(int(re.findall(r"VmHWM:\s*(\d+)", text)[0]) // 1024 for text in status)]


def main() -> int:
    """Try every reader, each in a process of its own; print the table. 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=READERS, help="one reader, in this process, as JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(asdict(run(args.only, args.seconds, args.seed))))
        return 0
    print(
        "| reader | tried | read | refused | wrong | longest, s | peak, MB | hours |\n|---|---|---|---|---|---|---|---|"
    )
    wrong: list[str] = []
    for name in READERS:
        command = [sys.executable, str(HERE), str(args.seconds), "--seed", str(args.seed), "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended = done.returncode == 0 and done.stdout.strip()
        row = Row(**json.loads(done.stdout.splitlines()[-1])) if ended else Row(wrong=[f"ended: {done.stderr[-2000:]}"])
        print(row.line(name), flush=True)
        wrong += row.wrong
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
