"""A seal is no signature: whatever a sealed file says, its reader answers or calls it damaged, soon, in little memory.

VISIONFM_FUZZ_CASES=20000 pytest -s of this file is the long run; it prints what became of the cases.
"""

import hashlib
import json
import os
import random
import resource
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from world.decoder_data import BINARY

from visionfm import artifacts
from visionfm.artifacts import archive, artifact, formats
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import ArtifactError, CannotReadNow, VisionFMError
from visionfm.features.cache import read_cache, write_cache
from visionfm.features.rows import Names, RowIdentity
from visionfm.features.token_cache import read_dense, write_dense
from visionfm.tasks.vectors.spec import Spec

CASES = int(os.environ.get("VISIONFM_FUZZ_CASES", "240"))
SLOW_S, MOST_MEMORY = 5.0, 3 << 30
MADE_BY = artifacts.provenance("index", {}, {"images": "f" * 64}, seed=3)
IDENTITY = RowIdentity("e" * 64, "square32-bilinear-fast", "[8, 9, 10, 11]", "fp32", "float16")
ODD = (
    "",
    "null",
    "[]",
    "{}",
    "-1",
    "0",
    "1e999",
    "NaN",
    '"x"',
    "[[]]",
    '{"a": null}',
    "[" * 5000,
    "9" * 5000,
    "\0",
    "x",
)


def table(path: Path) -> None:
    columns = {"path": ["a", "b"] * 20, "value": [1.5, None] * 20, "images": [[{"x": "1"}], []] * 20}
    artifacts.write_table(path, pa.table(columns), MADE_BY, schema="visionfm/x/1")


def masks(path: Path) -> None:
    with archive.writing(path, MADE_BY, schema="visionfm/masks/1") as writer:
        for number in range(4):
            writer.add(f"eyes/{number}.png", bytes([number]) * 50)


def features(path: Path) -> None:
    rows = (np.ones((2, 1, 4, 8), np.float16), np.ones((2, 1, 8), np.float16))
    write_cache(path, Names(["a", "b"], ["1" * 64, "2" * 64], ("identity",)), rows, IDENTITY, MADE_BY)


def tokens(path: Path) -> None:
    names = Names(["a", "b"], ["1" * 64, "2" * 64], ("identity",))
    rows = ((n, 0, np.full((4, 4, 8), n, np.float16)) for n in range(2))
    write_dense(path, names, (4, 4, 8), rows, IDENTITY, MADE_BY)


def decoder(path: Path) -> None:
    arrays = {"weight": np.ones((2, 3), np.float32)}
    spec = Spec("classification", BINARY, ["Fundus"], "mean", "linear", "cls", [8])
    artifacts.write_tensors(path, arrays, MADE_BY, schema=Spec.SCHEMA, extra=spec.metadata())


def encoder(path: Path) -> None:
    arrays = {"norm.weight": np.ones(8, np.float32), "blocks.0.norm1.weight": np.ones(8, np.float32)}
    said = {"arch": "vit_tiny_patch16_224", "image_size": "32", "patch": "16", "modality": "Fundus", "source": "{}"}
    said |= {"mean": "[0.4, 0.3, 0.2]", "std": "[0.3, 0.2, 0.1]", "interpolation": "bilinear"}
    artifacts.write_tensors(path, arrays, MADE_BY, schema="visionfm/encoder/1", extra=said)


def statistics(path: Path) -> None:
    artifacts.write_json(path, {"mean": [0.1, 0.2, 0.3]}, MADE_BY, schema="visionfm/x/1")


def page(path: Path) -> None:
    artifacts.write_text(path, "<html>\u00e4</html>", MADE_BY, schema="visionfm/x/1")


def unpacked(path: Path) -> None:
    found = archive.Archive(path)
    for name in found.names:
        found.read(name)
    archive.unpack(path, path.parent / "unpacked")


FILES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "table.parquet": (table, artifacts.read_table),
    "masks.zip": (masks, unpacked),
    "cls.h5": (features, read_cache),
    "dense.h5": (tokens, lambda path: np.array(read_dense(path).patches_NVLPD)),
    "decoder.safetensors": (decoder, Spec.load),
    "encoder.safetensors": (encoder, read_encoder_file),
    "statistics.json": (statistics, artifacts.read_json),
    "page.html": (page, artifacts.read_text),
}


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let the test have little more address space than it has now: whoever asks for more gets MemoryError."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def sealed_again(data: bytes) -> bytes:
    """The bytes with a seal that is right; as they are where no seal is left."""
    for at, value in artifact._seals(data):
        blank = data[:at] + artifact.UNSEALED.encode() + data[at + len(value) :]
        return data[:at] + hashlib.sha256(blank).hexdigest().encode() + data[at + len(value) :]
    return data


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out or put in; digits by preference, for sizes and offsets are made of them."""
    content = bytearray(data)
    head = min(len(content), 4000)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.choice([rng.randrange(head), max(0, len(content) - 1 - rng.randrange(head))])
        at = min(at, len(content) - 1)
        match rng.randrange(5):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at] = rng.randrange(256)
            case 2:
                del content[at : at + rng.randrange(1, 9)]
            case 3:
                content[at:at] = rng.choice(
                    [b"\0" * 8, b"\xff" * 8, b"[", b"{", b"9" * 20, b'"', b"-1", b"1e400", b"null"]
                )
            case _:
                digits = [place for place in range(at, min(at + 200, len(content))) if 48 <= content[place] < 58]
                for place in digits[:1]:
                    content[place] = rng.choice(b"0123456789")
    return bytes(content)


def outcome(path: Path, read: Callable[[Path], Any]) -> str:
    """What became of one case; anything but an answer or our own error fails the test."""
    began = time.perf_counter()
    try:
        read(path)
        found = "read"
    except CannotReadNow:
        found = "more memory asked for than there is"
    except VisionFMError as error:
        found = type(error).__name__
    took = time.perf_counter() - began
    assert took < SLOW_S, f"{took:.1f} s"
    return found


def test_what_pyarrow_ends_the_process_by_is_never_asked(tmp_path: Path) -> None:
    """Metadata of a column that cannot be: `make fuzz` found an abort in every few hundred changed tables."""
    table(tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    for seed in range(60):
        (tmp_path / "x.parquet").write_bytes(sealed_again(mutated(whole, random.Random(1_000_000 + seed))))
        outcome(tmp_path / "x.parquet", artifacts.read_table)


@pytest.mark.usefixtures("little_memory")
def test_changed_bytes_under_a_new_seal_are_read_or_refused(tmp_path: Path) -> None:
    rng, found = random.Random(0), Counter[tuple[str, str]]()
    whole = {}
    for name, (write, read) in FILES.items():
        write(tmp_path / name)
        read(tmp_path / name)
        whole[name] = (tmp_path / name).read_bytes()
    for number in range(CASES):
        name = sorted(FILES)[number % len(FILES)]
        (tmp_path / name).write_bytes(sealed_again(mutated(whole[name], rng)))
        found[name, outcome(tmp_path / name, FILES[name][1])] += 1
    print(*(f"{name}: {what}: {count}" for (name, what), count in sorted(found.items())), sep="\n")
    assert not [key for key in found if "memory" in key[1]], found
    assert sum(count for (_, what), count in found.items() if what == "ArtifactError") > CASES // 5


@pytest.mark.parametrize("name", sorted(FILES))
def test_metadata_that_make_no_sense_are_read_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them, one after the other, replaced by odd texts or taken away, under a seal that is right."""
    write, read = FILES[name]
    path = tmp_path / name
    write(path)
    names = sorted(set(artifacts.read_metadata(path)) - {artifact.SEAL})
    original, counts = artifact.unsealed_metadata, Counter[str]()
    odd = random.Random(name)
    for field in names:
        for text in (None, *odd.sample(ODD, 3)):

            def changed(*args: Any, field: str = field, text: str | None = text) -> dict[str, str]:
                said = {**original(*args), **({} if text is None else {field: text})}
                return said if text is not None else {key: one for key, one in said.items() if key != field}

            for module in (artifact, artifacts):
                monkeypatch.setattr(module, "unsealed_metadata", changed)
            try:
                write(path)
            except (OSError, ValueError, KeyError, LookupError, AttributeError, VisionFMError):
                continue  # HDF5 takes no such text, or the writer needs it itself
            counts[outcome(path, read)] += 1
    assert counts["ArtifactError"] >= len(artifact.SAID), counts


def test_an_array_that_claims_more_than_the_file_holds_is_damage(tmp_path: Path) -> None:
    """8 GB of zeros, of which not one is stored."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("cls", shape=(1_000_000, 1, 4, 1000), dtype="float16", chunks=(100, 1, 4, 1000))
        for name, text in {**dict.fromkeys(artifact.SAID, "1"), artifact.SEAL: artifact.UNSEALED}.items():
            file.attrs[name] = np.bytes_(text.encode())
    artifacts.seal_file(path)
    for read in (artifacts.read_hdf5, lambda path: artifacts.read_hdf5_arrays(path, ("cls",))):
        with pytest.raises(ArtifactError, match="more than the file"):
            read(path)


@pytest.mark.parametrize("size", [0, 2**64 - 16], ids=["no room", "all room"])
def test_texts_that_would_hold_up_the_library_for_ever_are_damage(size: int, tmp_path: Path) -> None:
    """An entry of HDF5's heap of texts whose next is itself: found by `make fuzz`."""
    path = tmp_path / "x.h5"
    features(path)
    data = bytearray(path.read_bytes())
    entry = data.index(formats.HEAP) + 16
    data[entry : entry + 2] = (1 if size else 0).to_bytes(2, "little")
    data[entry + 8 : entry + 16] = size.to_bytes(8, "little")
    path.write_bytes(sealed_again(bytes(data)))
    with pytest.raises(ArtifactError, match="one over the other"):
        read_cache(path)


def test_only_the_texts_that_are_asked_for_are_followed(tmp_path: Path) -> None:
    """Of a cache as large as a disk no stage reads all to open it; numbers may look as if texts began there."""
    path = tmp_path / "x.h5"
    numbers = np.frombuffer(formats.HEAP + bytes(56), np.uint8)
    path.write_bytes(formats.hdf5_bytes({"cls": numbers, "path": ["", "1.png"], "view": ["plain"]}, {}))
    assert list(formats.read_hdf5(path, None)["path"]) == ["", "1.png"]
    data = bytearray(path.read_bytes())
    data[data.index(b"plain") - 8] = 255  # the size of this entry is beyond its heap
    path.write_bytes(data)
    assert (formats.read_hdf5(path, ("cls",))["cls"] == numbers).all()
    with pytest.raises(ValueError, match="one over the other"):
        formats.read_hdf5(path, ("view",))


def test_a_table_that_claims_more_rows_than_the_file_holds_is_damage(tmp_path: Path) -> None:
    """Ten million equal rows in a few KB, sealed."""
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000_000, np.int8)), pa.array(["1.png"]))
    metadata = {**dict.fromkeys(artifact.SAID, "1"), artifact.SEAL: artifact.UNSEALED}
    path = tmp_path / "x.parquet"
    path.write_bytes(formats.table_bytes(pa.table({"path": rows}), metadata))
    artifacts.seal_file(path)
    with pytest.raises(ArtifactError, match="claim to hold 10,000,000 rows"):
        artifacts.read_table(path)


def test_a_compressed_archive_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "masks.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", b"\0" * 50_000_000)
        file.comment = json.dumps({**dict.fromkeys(artifact.SAID, "1"), artifact.SEAL: artifact.UNSEALED}).encode()
    artifacts.seal_file(path)
    with pytest.raises(ArtifactError, match="compressed"):
        archive.Archive(path)
