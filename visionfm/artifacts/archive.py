"""ZIP artefacts: many small files (masks) as one, written one after the other, read by name; metadata in its comment.

Files are stored as they are and have no dates, so that equal files give equal archives.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts.files import publish_file, temporary_for
from visionfm.errors import ArtifactError

NO_DATE = (1980, 1, 1, 0, 0, 0)
READABLE = 0o644 << 16


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
            metadata = artifacts.unsealed_metadata(made_by, schema, payload, extra)
            file.comment = json.dumps(metadata, sort_keys=True).encode()
        artifacts.seal_file(temporary)
        publish_file(temporary, path)


class Archive:
    """A checked archive, read by name."""

    def __init__(self, path: str | Path, verify: bool = True) -> None:
        """Raises ArtifactError where the archive is missing or damaged; `verify` False: it was checked before."""
        self.path = Path(path)
        self.metadata = artifacts.read_metadata(self.path, verify)
        with zipfile.ZipFile(self.path) as file:
            self.names = sorted(file.namelist())

    def read(self, name: str) -> bytes:
        """Return one file's bytes."""
        with zipfile.ZipFile(self.path) as file:
            if name not in file.namelist():
                raise ArtifactError(
                    f"{self.path.name} lacks a file", expected=name, where=self.path, do="run `visionfm predict` again"
                )
            return file.read(name)


def unpack(path: str | Path, folder: Path) -> None:
    """Make `folder` mirror a checked archive, for people to look at: files of other names in it are removed."""
    archive = Archive(path)
    with zipfile.ZipFile(archive.path) as file:
        for name in archive.names:
            target, data = folder / name, file.read(name)
            if not (target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data):
                target.parent.mkdir(parents=True, exist_ok=True)
                with temporary_for(target) as temporary:
                    temporary.write_bytes(data)
                    temporary.replace(target)
    wanted = {folder / name for name in archive.names}
    for found in sorted(folder.rglob("*"), reverse=True):
        if found.is_dir():
            if not any(found.iterdir()):
                found.rmdir()
        elif found not in wanted:
            found.unlink()
