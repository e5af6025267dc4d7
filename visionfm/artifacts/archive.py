"""ZIP artefacts: many small files (masks) as one, written one after the other, read by name; metadata in its comment.

Files are stored as they are and have no dates, so that equal files give equal archives.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from visionfm import artifacts
from visionfm.artifacts.files import kept_path, publish_file, temporary_for
from visionfm.errors import ArtifactError, UsageError

NO_DATE = (1980, 1, 1, 0, 0, 0)
READABLE = 0o644 << 16
LONGEST_COMMENT = 65_535  # bytes, by the format
MARKER = ".visionfm-unpacked"  # in a folder that was unpacked: the names of its files, as JSON


class ArchiveWriter:
    """An archive that is being written."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        """`file` is open."""
        self._file = file
        self.digests: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add one file under a relative POSIX path."""
        if name in self.digests:
            raise ValueError(f"{name} stands twice in the archive")
        entry = zipfile.ZipInfo(name, NO_DATE)
        entry.external_attr = READABLE
        entry.create_system = 3
        self._file.writestr(entry, data, zipfile.ZIP_STORED)
        self.digests[name] = hashlib.sha256(data).hexdigest()


@contextmanager
def writing(
    path: str | Path, made_by: artifacts.Provenance, *, schema: str, extra: Mapping[str, str] | None = None
) -> Iterator[ArchiveWriter]:
    """Yield a writer; publish the archive when the block ends without an error."""
    extra = extra or {}
    path = Path(path)
    with temporary_for(path) as temporary:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED, allowZip64=True) as file:
            writer = ArchiveWriter(file)
            yield writer
            said = json.dumps([dict(extra), writer.digests], sort_keys=True)
            payload = hashlib.sha256(said.encode()).hexdigest()
            metadata = artifacts.unsealed_metadata(path, made_by, schema, payload, extra)
            file.comment = _comment(metadata)
        artifacts.seal_file(temporary)
        publish_file(temporary, path)


def _comment(metadata: Mapping[str, str]) -> bytes:
    """Return the metadata as an archive's comment, which `zipfile` cuts short, without an error, at 65,535 bytes.

    Where a list of thousands of inputs would not fit, their number and one digest of the list stand in its place.
    """
    comment = json.dumps(metadata, sort_keys=True).encode()
    if len(comment) > LONGEST_COMMENT:
        whole = metadata["inputs"]
        name = f"{len(json.loads(whole))} inputs, the sha256 of their list"
        inputs = json.dumps({name: hashlib.sha256(whole.encode()).hexdigest()})
        comment = json.dumps({**metadata, "inputs": inputs}, sort_keys=True).encode()
    return comment


class Archive:
    """A checked archive, read by name."""

    def __init__(self, path: str | Path, verify: bool = True) -> None:
        """Raises ArtifactError where the archive is missing or damaged; `verify` False: it was checked before."""
        self.path = Path(path)
        self.metadata = artifacts.read_metadata(self.path, verify=verify)
        with artifacts.understood(self.path), zipfile.ZipFile(self.path) as file:
            self.names = sorted(file.namelist())
            if any(one.compress_type != zipfile.ZIP_STORED for one in file.infolist()):
                raise ValueError("its files are compressed, which ours never are")
            if sum(one.file_size for one in file.infolist()) > self.path.stat().st_size:
                raise ValueError("its files claim to hold more than the archive does")

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each file, by name; the archive is opened once."""
        with zipfile.ZipFile(self.path) as file:
            for name in self.names:
                with artifacts.understood(self.path):
                    data = file.read(name)
                yield name, data

    def read(self, name: str, most_bytes: int | None = None) -> bytes:
        """Return one file's bytes; ArtifactError where it is not there, or larger than `most_bytes`."""
        with artifacts.understood(self.path), zipfile.ZipFile(self.path) as file:
            if name not in file.namelist():
                raise ArtifactError(
                    f"{self.path.name} lacks a file", expected=name, where=self.path, do="run `visionfm predict` again"
                )
            if most_bytes is not None and file.getinfo(name).file_size > most_bytes:
                raise ValueError(f"{name} has more than {most_bytes} bytes")
            return file.read(name)


def check_folder(archive: Path) -> None:
    """Raise UsageError where the folder beside an archive to be written, its name without .zip, is not ours to fill."""
    if archive.suffix != ".zip":
        raise UsageError("masks are written as a zip archive", expected="--masks-out FILE.zip", found=archive)
    folder, kept = archive.with_suffix(""), kept_path(archive)
    ours = (folder / MARKER).is_file() or (kept is not None and kept.is_file())
    if not ours and (folder.is_symlink() or folder.exists()) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{archive.name} would be unpacked into {folder.name}, which holds files of yours",
            expected="no such folder, an empty one, or one that was unpacked before",
            where=folder,
            do="name another --masks-out",
        )


def unpack(path: str | Path, folder: Path) -> None:
    """Write the files of a checked archive into `folder`, for people to look at, where they are not there already.

    MARKER in it lists what was unpacked. What it lists and the archive no longer holds is removed, and nothing else.
    ArtifactError for names that lead out of `folder`, before a file is written.
    """
    archive = Archive(path)
    before = _unpacked(folder)
    for name in [*archive.names, *before]:
        _check_name(name, folder, archive.path)
    _mark(folder, {*archive.names, *before})
    for name, data in archive.contents():
        target = folder / name
        if not _holds(target, data):
            with temporary_for(target) as temporary:
                temporary.write_bytes(data)
                temporary.replace(target)
    for name in before - set(archive.names):
        (folder / name).unlink(missing_ok=True)
        for parent in (folder / name).parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()
    _mark(folder, set(archive.names))


def changed_since_unpacked(folder: Path, archive: Path) -> list[str]:
    """Return the names of unpacked files that are there and do not have the bytes that the checked archive gives them.

    A name that its archive no longer holds counts too. ArtifactError where the archive is missing or damaged.
    """
    same = {name for name, data in Archive(archive).contents() if _holds(folder / name, data)}
    return [name for name in sorted(_unpacked(folder)) if name not in same and (folder / name).is_file()]


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _unpacked(folder: Path) -> set[str]:
    """Return the names that were unpacked into a folder before; none where it has no marker, or none of ours."""
    try:
        names = json.loads((folder / MARKER).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _mark(folder: Path, names: set[str]) -> None:
    marker = folder / MARKER
    with temporary_for(marker) as temporary:
        temporary.write_text(json.dumps(sorted(names), indent=0) + "\n", encoding="ascii")
        temporary.replace(marker)


def _check_name(name: str, folder: Path, archive: Path) -> None:
    parts = PurePosixPath(name).parts
    inside = parts and name == "/".join(parts) and ".." not in parts and "\0" not in name
    if not (inside and (folder / name).parent.resolve().is_relative_to(folder.resolve())):
        raise ArtifactError(
            f"{archive.name} holds a file that would lie outside its folder",
            expected=f"names below {folder}",
            found=ascii(name),
            where=archive,
            do="do not use this archive; run `visionfm predict` again",
        )
