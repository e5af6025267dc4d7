"""Artefacts are absent or complete, never silently damaged, recalled when nothing changed; equal input, equal bytes."""

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from world.counts import times

from visionfm import artifacts
from visionfm.artifacts import files as artifact_files
from visionfm.artifacts import formats as artifact_formats
from visionfm.errors import ArtifactError, CannotReadNow, DataError, UsageError

MADE_BY = artifacts.provenance("index", {"a": 1}, {"images": "f" * 64}, seed=3)
LATER = artifacts.provenance("index", {"a": 2}, {"images": "f" * 64}, seed=3)
MARKS = {f"mark{i}": str(i) for i in range(12)}


def table(path: Path, made_by: artifacts.Provenance = MADE_BY, shift: float = 0) -> None:
    columns = {"path": ["a", "b"], "value": [1.5 + shift, None], "images": [[{"x": "1"}], []]}
    artifacts.write_table(path, pa.table(columns), made_by, schema="visionfm/x/1", extra=MARKS)


def tensors(path: Path, made_by: artifacts.Provenance = MADE_BY, shift: float = 0) -> None:
    arrays = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3) + shift, "a": np.ones(3, np.float16)}
    artifacts.write_tensors(path, arrays, made_by, schema="visionfm/x/1", extra=MARKS)


def hdf5(path: Path, made_by: artifacts.Provenance = MADE_BY, shift: float = 0) -> None:
    arrays = {"cls": np.arange(24, dtype=np.float16).reshape(2, 3, 4) + np.float16(shift), "path": ["a", "\u00e4"]}
    artifacts.write_hdf5(path, arrays, made_by, schema="visionfm/x/1", extra=MARKS)


def json_(path: Path, made_by: artifacts.Provenance = MADE_BY, shift: float = 0) -> None:
    artifacts.write_json(path, {"sha256": "0" * 64, "value": shift}, made_by, schema="visionfm/x/1")


def page(path: Path, made_by: artifacts.Provenance = MADE_BY, shift: float = 0) -> None:
    text = f"<html>\u00e4 -- {shift} file_sha256 {'0' * 64}\n</html>"
    artifacts.write_text(path, text, made_by, schema="visionfm/x/1", extra={"note": "a -- b --> c"})


WRITERS: dict[str, Callable[..., None]] = {
    "x.parquet": table,
    "x.safetensors": tensors,
    "x.h5": hdf5,
    "x.json": json_,
    "x.html": page,
}
READERS: dict[str, Callable[[Path], Any]] = {
    "x.parquet": artifacts.read_table,
    "x.safetensors": artifacts.read_tensors,
    "x.h5": artifacts.read_hdf5,
    "x.json": artifacts.read_json,
}
kinds = pytest.mark.parametrize("name", WRITERS)


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.tmp")]


# --- what is written is read ----------------------------------------------------------------------------------------


@kinds
def test_metadata_say_how_the_artefact_came_to_be(name: str, results: Path) -> None:
    WRITERS[name](results / name)
    metadata = artifacts.read_metadata(results / name)
    assert (metadata["stage"], metadata["version"], metadata["seed"]) == ("index", str(MADE_BY.version), "3")
    assert metadata["schema"] == "visionfm/x/1" and metadata["key"] == MADE_BY.key
    assert json.loads(metadata["inputs"]) == {"images": "f" * 64}


def test_a_table_comes_back_with_its_metadata(results: Path) -> None:
    table(results / "x.parquet")
    read = artifacts.read_table(results / "x.parquet")
    assert read.to_pylist()[1] == {"path": "b", "value": None, "images": []}
    assert read.schema.metadata[b"mark3"] == b"3"


def test_tensors_come_back_as_they_were_and_safetensors_reads_them_too(results: Path) -> None:
    from safetensors.numpy import load_file

    tensors(results / "x.safetensors")
    read, metadata = artifacts.read_tensors(results / "x.safetensors")
    theirs = load_file(results / "x.safetensors")
    assert metadata["mark3"] == "3" and read.keys() == theirs.keys() == {"a", "b.weight"}
    for key, array in theirs.items():
        assert array.dtype == read[key].dtype and np.array_equal(array, read[key])


def test_hdf5_comes_back_as_it_was_and_in_part(results: Path) -> None:
    hdf5(results / "x.h5")
    read, _ = artifacts.read_hdf5(results / "x.h5")
    assert list(read["path"]) == ["a", "\u00e4"] and read["cls"].shape == (2, 3, 4) and read["cls"].dtype == np.float16
    assert artifacts.read_hdf5(results / "x.h5", ("path",))[0].keys() == {"path"}


def test_a_page_holds_its_text_unchanged_and_ends_its_comment_once(results: Path) -> None:
    page(results / "x.html")
    text = (results / "x.html").read_text(encoding="utf-8")
    assert text.startswith("<html>\u00e4 -- 0 file_sha256 ") and text.count("-->") == 1
    assert artifacts.read_metadata(results / "x.html")["note"] == "a -- b --> c"


def test_a_page_may_show_the_checksum_fields_of_other_artefacts(results: Path) -> None:
    table(results / "x.parquet")
    shown = json.dumps(artifacts.read_metadata(results / "x.parquet"))
    artifacts.write_text(results / "x.html", f"<pre>{shown}</pre>", MADE_BY, schema="visionfm/x/1")
    assert artifacts.read_metadata(results / "x.html")["stage"] == "index"


def test_the_payload_digest_ignores_provenance_and_the_columns_left_out(results: Path) -> None:
    for name, made_by, date in (("a", MADE_BY, 1), ("b", LATER, 2)):
        columns = pa.table({"path": ["a"], "mtime_ns": [date]})
        artifacts.write_table(results / f"{name}.parquet", columns, made_by, schema="s", not_payload=("mtime_ns",))
    table(results / "c.parquet", shift=0)
    table(results / "d.parquet", shift=1)
    digests = {name: artifacts.payload_digest(results / f"{name}.parquet") for name in "abcd"}
    assert digests["a"] == digests["b"] and digests["c"] != digests["d"]


def test_the_payload_digest_ignores_how_a_table_is_chunked(results: Path) -> None:
    whole = pa.table({"path": ["a", "b", "c"]})
    for index, parts in enumerate(([whole], [whole[:1], whole[1:]], [whole[:0], whole[:2], whole[2:]])):
        artifacts.write_table(results / f"{index}.parquet", pa.concat_tables(parts), MADE_BY, schema="s")
    assert len({artifacts.payload_digest(path) for path in results.glob("*.parquet")}) == 1
    assert len({path.read_bytes() for path in results.glob("*.parquet")}) == 1


def test_the_key_depends_on_stage_settings_and_inputs_and_not_on_their_order() -> None:
    def key(stage: str = "index", a: int = 1, digest: str = "x") -> str:
        return artifacts.provenance(stage, {"a": a, "b": 2}, {"images": digest, "like": "y"}).key

    assert key() == artifacts.provenance("index", {"b": 2, "a": 1}, {"like": "y", "images": "x"}).key
    assert len({key(), key("label"), key(a=2), key(digest="z")}) == 4


def test_a_raised_version_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(artifacts.VERSIONS, "index", 99)
    assert artifacts.provenance("index", {"a": 1}, {"images": "f" * 64}, seed=3).key != MADE_BY.key


def test_metadata_names_of_the_provenance_cannot_be_taken(results: Path) -> None:
    with pytest.raises(ValueError, match="taken"):
        artifacts.write_table(results / "x.parquet", pa.table({"a": [1]}), MADE_BY, schema="s", extra={"key": "x"})


def test_equal_input_gives_equal_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; here = pathlib.Path(sys.argv[1]); sys.path[:0] = [str(here), str(here.parent)]\n"
        "import test_artifacts as t\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "for name, write in t.WRITERS.items(): write(folder / name)\n"
    )
    digests = set()
    for seed in ("0", "4711"):
        folder = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC-{seed[0]}", "LANG": "C"}
        arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)]
        subprocess.run(arguments, env=environment, check=True)
        digests.add(tuple(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in WRITERS))
    assert len(digests) == 1


@kinds
def test_no_artefact_holds_a_date_or_the_place_where_it_was_made(name: str, results: Path) -> None:
    WRITERS[name](results / name)
    before = (results / name).read_bytes()
    assert str(results).encode() not in before and os.uname().nodename.encode() not in before
    time.sleep(0.01)
    (results / "elsewhere").mkdir()
    WRITERS[name](results / "elsewhere" / name)
    assert (results / "elsewhere" / name).read_bytes() == before


# --- damage ---------------------------------------------------------------------------------------------------------


def read_all(path: Path) -> None:
    for read in (artifacts.read_metadata, READERS.get(path.name, artifacts.payload_digest)):
        with pytest.raises(ArtifactError):
            read(path)


@kinds
def test_every_flipped_bit_is_found(name: str, results: Path, record_property: Callable[[str, object], None]) -> None:
    path = results / name
    WRITERS[name](path)
    whole = path.read_bytes()
    generator = random.Random(0)
    record_property("tried", flips := times(1000, 150))
    for _ in range(flips):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        read_all(path)


@kinds
def test_a_truncated_appended_zeroed_or_foreign_file_is_refused(name: str, results: Path) -> None:
    path = results / name
    WRITERS[name](path)
    whole = path.read_bytes()
    lengths = [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]
    damaged = [whole[:length] for length in lengths]
    damaged += [whole + b"\0", whole + b"\n", whole + whole, b"\0" * len(whole), whole[:50] + b"\0" * 50 + whole[100:]]
    damaged += [
        b"hello",
        b"[]",
        b"{}",
        b"{",
        b'{"visionfm": []}',
        b'{"visionfm": {"file_sha256": 3}}',
        b"<html></html>",
    ]
    damaged += [json.dumps({"visionfm": {"file_sha256": "a" * 64}}).encode(), b"\xff" * 40]
    for content in damaged:
        path.write_bytes(content)
        read_all(path)


@pytest.mark.parametrize("name", ["x.json", "x.html", "x.safetensors"])
def test_unverified_metadata_of_a_damaged_file_are_an_artifact_error_or_a_mapping(name: str, results: Path) -> None:
    path = results / name
    WRITERS[name](path)
    whole = path.read_bytes()
    generator = random.Random(1)
    for _ in range(150):
        damaged = bytearray(whole[: generator.choice([len(whole), generator.randrange(len(whole))])])
        if damaged:
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(ArtifactError):
            assert isinstance(artifacts.read_metadata(path, verify=False), dict)


@kinds
def test_an_artefact_in_place_of_another_format_is_refused(name: str, results: Path) -> None:
    for other, write in WRITERS.items():
        if Path(other).suffix != Path(name).suffix:
            write(results / other)
            shutil.copy(results / other, results / name)
            with pytest.raises(ArtifactError):
                artifacts.read_metadata(results / name)


def test_a_missing_artefact_and_a_folder_in_its_place_are_artifact_errors(results: Path) -> None:
    for path in (results / "none.parquet", results):
        with pytest.raises(ArtifactError, match="missing"):
            artifacts.read_metadata(path)


def test_files_of_others_are_no_artefacts(results: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), results / "x.parquet")
    (results / "x.txt").write_text("file_sha256")
    for name in ("x.parquet", "x.txt"):
        with pytest.raises(ArtifactError, match="damaged"):
            artifacts.read_metadata(results / name)


# --- kept copies ----------------------------------------------------------------------------------------------------


def test_kept_copies_lie_below_the_nearest_results_folder() -> None:
    assert artifacts.kept_path("results/a/x.h5") == Path.cwd() / "results/.kept/a/x.h5"
    assert artifacts.kept_path("/results/run/results/x.h5") == Path("/results/run/results/.kept/x.h5")
    assert artifacts.kept_path("elsewhere/x.h5") is None
    assert artifacts.kept_path("results/.kept/a/x.h5") is None


@kinds
def test_a_deleted_artefact_of_the_same_key_is_recalled(name: str, results: Path) -> None:
    path = results / "a" / name
    WRITERS[name](path)
    whole = path.read_bytes()
    path.unlink()
    assert not artifacts.recall(path, LATER) and not path.exists()
    assert artifacts.recall(path, MADE_BY)
    assert path.read_bytes() == whole and left_over(results) == []


def test_a_recalled_artefact_is_of_now(results: Path) -> None:
    path = results / "x.json"
    json_(path)
    os.utime(path, (1, 1))
    assert artifacts.recall(path, MADE_BY)
    assert time.time() - path.stat().st_mtime < 60


def test_outside_results_an_artefact_stands_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    json_(path)
    assert artifacts.recall(path, MADE_BY) and not artifacts.recall(path, LATER)
    path.unlink()
    assert not artifacts.recall(path, MADE_BY)


@kinds
def test_a_damaged_kept_copy_is_not_recalled(name: str, results: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = results / name
    WRITERS[name](path)
    kept = artifacts.kept_path(path)
    assert kept is not None
    content = bytearray(path.read_bytes())
    path.unlink()
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    with caplog.at_level("WARNING", "visionfm"):
        assert not artifacts.recall(path, MADE_BY)
    assert not path.exists() and "damaged and will be made again" in caplog.text


SYSTEM_ERRORS = [*(OSError(n, os.strerror(n)) for n in (errno.ENOMEM, errno.EMFILE, errno.EIO, errno.ESTALE))]


@pytest.mark.parametrize("error", [*SYSTEM_ERRORS, MemoryError()], ids=str)
@pytest.mark.parametrize("where", ["read_metadata", "read_table"])
def test_an_error_of_the_system_is_no_damage_and_nothing_is_dropped(
    error: Exception, where: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results / "x.parquet"
    table(path)
    before = files(results)

    def failing(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(artifact_formats, where, failing)
        acts: dict[str, list[Callable[[Path], object]]] = {
            "read_metadata": [artifacts.read_metadata, lambda path: artifacts.recall(path, MADE_BY)],
            "read_table": [artifacts.read_table],
        }
        for act in acts[where]:
            with pytest.raises(CannotReadNow, match="try again") as said:
                act(path)
            assert "damaged" not in str(said.value) and "forget" not in str(said.value)
    assert files(results) == before and artifacts.recall(path, MADE_BY)


@pytest.mark.parametrize("name", READERS)
def test_a_process_without_free_file_handles_does_not_call_an_artefact_damaged(name: str, results: Path) -> None:
    import resource

    path = results / name
    WRITERS[name](path)
    READERS[name](path)  # imports what it needs

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard[1]))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for free in range(4):  # the check needs two, the parsers one or two
            try:
                READERS[name](path)
            except CannotReadNow as error:
                assert "Too many open files" in str(error)
            else:
                assert free > 0
            os.close(taken.pop())
    finally:
        for handle in taken:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, hard)


def test_a_damaged_kept_copy_does_not_hide_a_whole_artefact(results: Path) -> None:
    path = results / "x.json"
    json_(path)
    kept = artifacts.kept_path(path)
    assert kept is not None
    kept.unlink()
    kept.write_bytes(b"damaged")
    assert artifacts.recall(path, MADE_BY)


def test_where_links_are_impossible_copies_are_kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, "no links here")

    monkeypatch.setattr(os, "link", refused)
    path = results / "x.json"
    json_(path)
    kept = artifacts.kept_path(path)
    assert kept is not None and not kept.samefile(path)
    path.unlink()
    assert artifacts.recall(path, MADE_BY) and not kept.samefile(path)


def test_a_file_in_the_kept_folder_keeps_no_copy_of_its_own(results: Path) -> None:
    json_(results / ".kept" / "x.partial.json")
    assert [path.name for path in results.rglob("*") if path.is_file()] == ["x.partial.json"]


# --- kills ----------------------------------------------------------------------------------------------------------


def in_child(act: Callable[[], None]) -> int:
    """Run `act` in a forked process; return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at_line(number: int, act: Callable[[], None], kill: Callable[[], object]) -> Callable[[], None]:
    """Return `act`, ended by `kill` before the line of artifact_files.py that would be executed as the `number`-th."""

    def run() -> None:
        count = 0

        def trace(frame: Any, event: str, _: object) -> Any:
            nonlocal count
            if frame.f_code.co_filename != artifact_files.__file__:
                return None
            if event == "line":
                count += 1
                if count == number:
                    kill()
            return trace

        sys.settrace(trace)
        act()
        os._exit(17)

    return run


KILLS = {"_exit": lambda: os._exit(9), "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL)}


@pytest.mark.parametrize("before", ["absent", "old"])
@pytest.mark.parametrize(("name", "kill"), [*((name, "_exit") for name in WRITERS), ("x.json", "SIGKILL")])
def test_a_kill_at_any_line_of_publish_leaves_absent_or_whole_and_a_rerun_equal_bytes(
    name: str, before: str, kill: str, results: Path, record_property: Callable[[str, object], None]
) -> None:
    WRITERS[name](results / "old" / name)
    WRITERS[name](results / "new" / name, LATER, 1)
    first, new = ((results / folder / name).read_bytes() for folder in ("old", "new"))
    lines = 0
    for number in range(1, 200):
        path = results / f"at{number}" / name
        old = first if before == "old" else None
        if old is not None:
            artifacts.publish(path, old)
        status = in_child(killed_at_line(number, lambda path=path: artifacts.publish(path, new), KILLS[kill]))
        lines = number
        content = path.read_bytes() if path.exists() else None
        if os.waitstatus_to_exitcode(status) == 17:
            assert content == new
            break
        assert content in (old, new), number
        if content is not None:
            artifacts.read_metadata(path)
        if not artifacts.recall(path, LATER):
            artifacts.publish(path, new)
        assert path.read_bytes() == new
        kept = artifacts.kept_path(path)
        assert kept is not None and kept.read_bytes() == new
    assert lines > 20
    record_property("tried", lines)


def test_a_kill_at_any_line_of_a_recall_leaves_absent_or_whole(results: Path) -> None:
    for number in range(1, 200):
        path = results / f"at{number}" / "x.json"
        json_(path)
        whole = path.read_bytes()
        path.unlink()
        status = in_child(killed_at_line(number, lambda path=path: artifacts.recall(path, MADE_BY), KILLS["_exit"]))
        assert not path.exists() or path.read_bytes() == whole
        assert artifacts.recall(path, MADE_BY) and path.read_bytes() == whole
        if os.waitstatus_to_exitcode(status) == 17:
            break
    assert 5 < number < 199


def test_a_kill_at_a_random_time_leaves_the_old_or_the_new_file(
    results: Path, record_property: Callable[[str, object], None]
) -> None:
    path = results / "x.h5"
    generator = random.Random(0)
    contents = [bytes([value]) * 8_000_000 for value in range(2)]
    artifacts.publish(path, contents[0])
    record_property("tried", kills := times(200, 20))
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            while True:
                for content in contents:
                    artifacts.publish(path, content)
        time.sleep(generator.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.read_bytes() in contents


def test_two_writers_and_a_reader_see_whole_artefacts_only(
    results: Path, record_property: Callable[[str, object], None]
) -> None:
    path = results / "x.json"
    record_property("tried", wanted := times(10_000, 300))
    json_(path)
    children = []
    for shift in (1, 2):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(wanted // 2):
                    json_(path, LATER, shift)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    reads = 0
    while reads < wanted:
        assert artifacts.read_json(path)["value"] in (0, 1, 2)
        reads += 1
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert artifacts.read_json(path)["value"] in (1, 2) and left_over(results) == []


# --- no space, no permission ----------------------------------------------------------------------------------------


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_too_little_space_is_said_before_anything_is_written(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = results / "x.json"
    json_(path)
    before = files(results)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="the disk is full") as raised:
        json_(path, LATER)
    assert raised.value.exit_code == 3 and "free space" in str(raised.value)
    assert files(results) == before


@pytest.mark.parametrize("step", ["write", "fsync", "link", "replace", "mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_failing_step_leaves_the_old_artefact_and_no_temporary_file(
    step: str, code: int, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results / "a" / "x.json"
    json_(path)
    before = files(results)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    class Full:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.handle.close()

        def write(self, data: bytes) -> None:
            self.handle.write(data[:10])
            fail()

    opened = Path.open
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(Path, "open", lambda self, mode="r": Full(opened(self, mode)))
        elif step in ("replace", "mkdir"):
            patch.setattr(Path, step, fail)
        else:
            patch.setattr(os, step, fail)
        full = code in (errno.ENOSPC, errno.EDQUOT)
        if step == "link" and not full:
            json_(path, LATER)  # a file system without links: a copy is kept
            return
        with pytest.raises(DataError, match="the disk is full" if full else "cannot be written"):
            json_(path, LATER)
    assert files(results) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here (not root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("known", [True, False], ids=["free space known", "free space not told"])
def test_a_full_disk_leaves_the_old_artefact_whole(
    known: bool, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_disk / "results" / "x.h5"
    hdf5(path)
    before = files(small_disk)
    if not known:
        monkeypatch.setattr(artifact_files, "_check_space", lambda *_: None)
    big = {"cls": np.random.default_rng(0).random((100, 1000))}
    for _ in range(3):
        with pytest.raises(DataError, match="the disk is full"):
            artifacts.write_hdf5(path, big, LATER, schema="visionfm/x/1")
        assert files(small_disk) == before
    artifacts.read_hdf5(path)
    artifacts.write_hdf5(path, {"cls": big["cls"][:5]}, LATER, schema="visionfm/x/1")
    assert artifacts.read_hdf5(path)[0]["cls"].shape == (5, 1000)


def test_a_full_disk_at_a_recall_is_said_too(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = results / "x.json"
    json_(path)
    path.unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(DataError, match="the disk is full"):
        artifacts.recall(path, MADE_BY)


def test_a_file_in_place_of_a_folder_is_a_data_error(results: Path) -> None:
    (results / "a").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        json_(results / "a" / "x.json")


def test_what_a_killed_process_left_is_swept_a_day_later(results: Path) -> None:
    old, young = (results / f".a.parquet.{letter * 32}.tmp" for letter in "ab")
    of_others = [results / ".notes.tmp", results / ".a.parquet.old.tmp", results / f".{'a' * 32}.tmp"]
    for path in (old, young, *of_others):
        path.write_bytes(b"half")
    for path in (old, *of_others):
        os.utime(path, (0, 0))
    artifacts.publish(results / "b.json", b"{}")
    assert not old.exists() and young.exists()
    assert all(path.read_bytes() == b"half" for path in of_others), "hidden files of a user stay"


def test_a_fifo_or_a_device_is_no_output(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo.json", tmp_path / "link.json"
    os.mkfifo(fifo)
    link.symlink_to("/dev/null")
    for path in (fifo, link, Path("/dev/null")):
        with pytest.raises(UsageError, match="no place for a file"):
            artifacts.publish(path, b"{}")
    assert fifo.is_fifo() and link.is_symlink() and Path("/dev/null").is_char_device()


def test_a_full_disk_is_named_by_the_file_that_has_no_room(results: Path, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "shared/x")
    full = pytest.raises(DataError, match=f"(?s)the disk is full.*where: {elsewhere}")
    with full, artifact_files.temporary_for(results / "x.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), elsewhere)


# --- names and rights -----------------------------------------------------------------------------------------------


def test_a_name_as_long_as_the_system_allows_is_written_and_a_longer_one_refused_at_once(results: Path) -> None:
    path = results / ("x" * 250 + ".json")
    json_(path)
    assert artifacts.recall(path, MADE_BY) and left_over(results) == []
    with pytest.raises(UsageError, match="too long"):
        artifact_files.check_target(results / ("\u00e4" * 128 + ".json"))


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o022, 0o644)])
def test_files_have_the_rights_that_the_umask_leaves(umask: int, mode: int, results: Path) -> None:
    before = os.umask(umask)
    try:
        for name, write in WRITERS.items():
            write(results / name)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in results.rglob("x.*")} == {mode}
