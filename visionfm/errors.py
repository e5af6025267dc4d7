"""What goes wrong, said so that a person can act on it.

Every error names what was expected, what was found, where, and what to do; its class decides the process's exit code:
2 usage or config, 3 data, 4 damaged artefact, 75 stopped by a signal with the progress saved.
"""

import errno
from collections import Counter
from collections.abc import Iterator

SHOWN_PROBLEMS = 20
SAID_SINGLY = 3  # places of one problem; more are counted
_PASSING = frozenset(
    (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY)
    + (errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOLCK)
    + (errno.ENETDOWN, errno.ENETUNREACH, errno.ENOBUFS, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO)
)


class VisionFMError(Exception):
    """Base of all errors that a user sees without a traceback."""

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        where: object = None,
        do: str | None = None,
    ) -> None:
        """`problem` is one line; the others, where given, follow on lines of their own."""
        self.problem = problem
        parts = [("expected", expected), ("found", found), ("where", where), ("what to do", do)]
        self.details = [(label, str(text)) for label, text in parts if text is not None]
        super().__init__("\n".join([problem, *(f"  {label}: {text}" for label, text in self.details)]))


class UsageError(VisionFMError):
    """A command line that cannot be carried out."""

    exit_code = 2


class ConfigError(VisionFMError):
    """A config that cannot be used."""

    exit_code = 2


class DataError(VisionFMError):
    """Images, labels, weights or splits that cannot be used; also a full disk."""

    exit_code = 3


class CannotReadNow(DataError):
    """A file that the system did not give. Nothing is said against the file: nobody drops it or computes it anew."""


class ArtifactError(VisionFMError):
    """An artefact that is damaged, of another schema, or does not belong to its neighbours."""

    exit_code = 4


class OutOfDate(ArtifactError):
    """A whole artefact that was made from other inputs than lie beside it now."""


class Stopped(VisionFMError):
    """Ended by a signal after the progress was saved; the same command goes on from there."""

    exit_code = 75


def is_passing(error: BaseException) -> bool:
    """Tell whether an error is the system's own and may pass (memory, open files, disk, network), not the file's."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PASSING)


def cannot_read_now(where: object, error: BaseException) -> CannotReadNow:
    """Return what to raise for an error of the system's at the file `where`."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return CannotReadNow(
        "a file cannot be read now",
        found=reason,
        where=where,
        do="look at the disk, the memory and the file's rights, then try again; the file may be whole",
    )


class Problems:
    """Collects all problems of one file or folder, to be raised together.

    >>> problems = Problems(DataError, "labels of idrid")
    >>> problems.add("line 3: expected 13 values, found 12")
    >>> problems.raise_if_any(do="correct the lines")
    """

    def __init__(self, error: type[VisionFMError], subject: str) -> None:
        """`error` is the class raised; `subject` names what the problems are of."""
        self.error = error
        self.subject = subject
        self._noted: list[tuple[str | None, str]] = []

    def add(self, problem: str, at: str | None = None) -> None:
        """Note one problem; what is wrong in the same way `at` more than a few places becomes one line."""
        self._noted.append((at, problem))

    @property
    def found(self) -> list[str]:
        """Return the lines that say what was noted."""
        times = Counter(problem for at, problem in self._noted if at is not None)
        lines: dict[tuple[str | None, str], str] = {}
        for number, (at, problem) in enumerate(self._noted):
            if at is None:
                lines[str(number), problem] = problem
            elif times[problem] <= SAID_SINGLY:
                lines[str(number), problem] = f"{at}: {problem}"
            else:
                lines.setdefault((None, problem), f"{at} and {times[problem] - 1} more: {problem}")
        return list(lines.values())

    def __len__(self) -> int:
        """Return how many lines say it."""
        return len(self.found)

    def __iter__(self) -> Iterator[str]:
        """Iterate over these lines."""
        return iter(self.found)

    def raise_if_any(self, do: str | None = None) -> None:
        """Raise one error that lists the first problems and counts the rest."""
        if not self._noted:
            return
        lines = self.found
        count = len(lines)
        shown = [f"  - {line}" for line in lines[:SHOWN_PROBLEMS]]
        if count > SHOWN_PROBLEMS:
            shown.append(f"  ... and {count - SHOWN_PROBLEMS} more")
        head = f"{self.subject}: {count} problem{'s' if count > 1 else ''}"
        raise self.error("\n".join([head, *shown]), do=do)
