"""Paths as tables have them: other slashes, no suffix, another case of it; resolved where exactly one file fits.

In order: as it stands, without what only another system writes, by the suffix's case, without a suffix, by the end of
the path. Each way that finds one file is taken and counted, for the log; several are a problem that names them.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from visionfm.config.nearest import nearest
from visionfm.images.reading import ALLOWED_SUFFIXES

MOST_COMPARED = 5_000


class Files:
    """The files of a dataset, found by what a table calls them."""

    def __init__(self, paths: Iterable[str], root: PurePosixPath) -> None:
        """`paths` are POSIX, relative to the root."""
        self.paths, self.root = frozenset(paths), root.parts
        self.ways: Counter[str] = Counter()
        self.examples: dict[str, tuple[str, str]] = {}
        self._by: dict[str, dict[str, list[str]]] | None = None

    def find(self, text: str) -> str | list[str]:
        """Return the one file that a text means; a list of all that it could mean, empty for none."""
        if text in self.paths or ".." in re.split(r"[/\\]", text):
            return text if text in self.paths else []
        for way, candidates in self._ways(text):
            if len(candidates) == 1:
                self.ways[way] += 1
                self.examples.setdefault(way, (text, candidates[0]))
                return candidates[0]
            if candidates:
                return sorted(candidates)
        return []

    def like(self, text: str) -> str:
        """Return, as the end of a message, the file that a text is most like; empty for none."""
        name = _name(_clean(text))
        close = sorted(self.paths, key=lambda path: (abs(len(path) - len(text)), path))[:MOST_COMPARED]
        by_name = {_name(path): path for path in reversed(close)}
        near = nearest(name, by_name, 0.75) if name else None
        return "" if near is None else f"; did you mean {by_name[near]!r}?"

    def said(self) -> list[str]:
        """Return, for the log, how many paths were found in which way, each with an example."""
        return [
            f"{count} {'path' if count == 1 else 'paths'} {way}: {self.examples[way][0]!r} is {self.examples[way][1]!r}"
            for way, count in self.ways.items()
        ]

    def _ways(self, text: str) -> Iterable[tuple[str, list[str]]]:
        by = self._index()
        clean = _clean(text)
        if not clean:
            return
        yield "found but for slashes or accents", by["composed"].get(clean, [])
        yield "found but for the case of the suffix", by["suffix"].get(_small_suffix(clean), [])
        yield "found without a suffix", by["stem"].get(clean, [])
        # A name alone, of a file in some folder; or in front the root's own name, or a folder of another machine.
        name = _name(clean)
        for way, key in (("suffix", _small_suffix(name)), ("stem", name)):
            inside = by[f"{way} of name"].get(key, [])
            fitting = [path for path in inside if _ends(path, clean) or self._is_below(text, clean, path)]
            yield "found by the end of the path", fitting

    def _is_below(self, text: str, clean: str, path: str) -> bool:
        """Tell whether what stands before a file's path is the root: its last folders, or an absolute path."""
        before = tuple(clean.split("/")[: clean.count("/") - path.count("/")])
        absolute = re.match(r"/|\\\\|[A-Za-z]:[/\\]|~", text) is not None
        return _ends(clean, path) and bool(before) and (absolute or self.root[-len(before) :] == before)

    def _index(self) -> dict[str, dict[str, list[str]]]:
        if self._by is None:
            self._by = defaultdict(lambda: defaultdict(list))
            for path in sorted(self.paths):
                clean = unicodedata.normalize("NFC", path)
                name = _name(clean)
                self._by["composed"][clean].append(path)
                self._by["suffix"][_small_suffix(clean)].append(path)
                self._by["stem"][_stem(clean)].append(path)
                self._by["suffix of name"][_small_suffix(name)].append(path)
                self._by["stem of name"][_stem(name)].append(path)
        return self._by


def _clean(text: str) -> str:
    """Return a path with forward slashes, composed accents, and no `./` or `/` in front."""
    parts = unicodedata.normalize("NFC", text).strip().strip('"').replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _small_suffix(path: str) -> str:
    stem, suffix = _parted(path)
    return stem + suffix.lower()


def _stem(path: str) -> str:
    return _parted(path)[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _parted(path: str) -> tuple[str, str]:
    """Return a path without its suffix, and the suffix; by hand, for tables have millions of paths."""
    at = path.rfind(".")
    has_one = path.rfind("/") + 1 < at < len(path) - 1
    return (path[:at], path[at:]) if has_one else (path, "")


def _ends(long: str, short: str) -> bool:
    """Tell whether a path's last folders and name are another path, whose suffix may be left out."""
    ends, end = ([*_stem_parts(path)] for path in (long, short))
    return len(end) <= len(ends) and ends[len(ends) - len(end) :] == end


def _stem_parts(path: str) -> list[str]:
    clean = unicodedata.normalize("NFC", path)
    return (_stem(clean) if _parted(clean)[1].lower() in ALLOWED_SUFFIXES else clean).split("/")


def filled(template: str, record: dict[str, str]) -> str:
    """Return a template with a row's cells: `{id}` as it stands, `{id:04d}` its one number, padded; ValueError."""

    def cell(found: re.Match[str]) -> str:
        name, form = template_column(found[1])
        text = record[name].strip()
        if not form:
            return text
        numbers = re.findall(r"[0-9]+", re.sub(r"\.0+$", "", text))
        if len(numbers) != 1:
            raise ValueError(f"{name}: expected one number in it for {{{found[1]}}}, found {text!r}")
        return format(int(numbers[0]), form)

    return re.sub(r"\{([^{}]+)\}", cell, template)


def template_column(inside: str) -> tuple[str, str]:
    """Return the column between a template's braces, and how its number is written (`04d`), or an empty text."""
    found = re.fullmatch(r"(.+):(0?[0-9]*d)", inside)
    return (found[1], found[2]) if found else (inside, "")


def template_columns(template: str) -> list[str]:
    """Return the columns of a template; a text without braces is a column itself."""
    return [template_column(inside)[0] for inside in re.findall(r"\{([^{}]+)\}", template)] or [template]


def is_template(text: str) -> bool:
    """Tell whether a text is a template of columns."""
    return "{" in text
