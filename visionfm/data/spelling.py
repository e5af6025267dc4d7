"""How ids of people are written: one person under two spellings would be counted twice, and stand in two splits.

Spellings of one id: other case, other separators or spaces, leading zeros, the `.0` of a number that went through a
float column, composed and decomposed accents.
"""

import calendar
import hashlib
import hmac
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

FIRST_YEAR, LAST_YEAR = 1900, 2030  # of what is read as somebody's date of birth
_DATES = (
    re.compile(r"(?P<year>\d{4})([-./_]?)(?P<month>\d{2})\2(?P<day>\d{2})"),
    re.compile(r"(?P<day>\d{2})([-./_]?)(?P<month>\d{2})\2(?P<year>\d{4})"),
)
_NAME = re.compile(
    r"[^\W\d_]{2,}(?:-[^\W\d_]{2,})?[,;]?[ _,.][ ]?[^\W\d_]{2,}(?:-[^\W\d_]{2,})?"
    r"|[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*\^[^\W\d_]+(?:[ ^.'-]+[^\W\d_]+)*\^*"  # of DICOM: SMITH^JOHN^A
)
# Words that stand for a person without naming one, and whole words of what ids say beside that: eye, site, grade.
_NO_NAME = re.compile(
    r"patient|subject|person|case|control|healthy|normal|eye|left|right|image|photo|fundus|oct|scan|study|visit|test"
    r"|(?<![^\W_])(?:od|os|ou|(?:fe)?male|site|cent(?:er|re)|hospital|clinic|camera|device|cohort|group|fold|set"
    r"|train(?:ing)?|valid(?:ation)?|val|dev|external|baseline|follow|pre|post|first|second|early|late|none|mild|moderate"
    r"|severe|proliferative|grade|stage|disease|glaucoma|cataract|myopia|drusen|amd|dme|cnv|rop|retina|macula|disc|optic"
    r"|cfp|ffa|faf|octa|slo)(?![^\W_])",
    re.IGNORECASE,
)

Normalise = Literal["digits", "text", "exact"]
_FLOAT = re.compile(r"([^\d.]*[0-9]+)\.0+")
_BETWEEN_NUMBERS = re.compile(r"(?<=[0-9])[^a-z0-9]+(?=[0-9])")
_OTHER = re.compile(r"[^a-z0-9]+")
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
_RUNS = re.compile(r"\d+|[^\d\0]+|\0")
_HASHED = re.compile(r"(h[0-9a-f]{16})-[0-9a-f]{8}")


def written(text: str, normalise: Normalise | None) -> str:
    """Return an id as tables of the project have it: `text` leaves case and separators out, `digits` zeros too.

    Otherwise the id stays as it is but for what no reader sees: accents are composed, and `12.0`, which a column of
    numbers with gaps becomes in CSV, is 12 as it is from Parquet.
    """
    if text[:1] == "h" and (found := _HASHED.fullmatch(text)):
        return found[1] if normalise == "digits" else text
    if normalise in ("digits", "text"):
        return _plain(text, zeros=normalise == "text")
    plain = unicodedata.normalize("NFC", text).strip()
    return plain.partition(".")[0] if re.fullmatch(r"[0-9]+\.0+", plain) else plain


def hashed(text: str, key: bytes) -> str:
    """Return a written id as HMAC-SHA256 of it under a site's key; spellings of one id begin with the same 17 signs."""
    parts = (written(text, "digits"), text)
    digests = [hmac.new(key, part.encode(), hashlib.sha256).hexdigest() for part in parts]
    return f"h{digests[0][:16]}-{digests[1][:8]}"


def alike(ids: Iterable[str]) -> list[list[str]]:
    """Return the ids that differ in their spelling alone, as sorted groups of two or more."""
    groups: dict[str, set[str]] = defaultdict(set)
    for one in ids:
        groups[written(one, "digits")].add(one)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def personal(subject: str) -> Literal["names", "dates"] | None:
    """Return what an id seems to tell of a person: two words that may be names, or a date that may be of birth."""
    text = subject.strip()
    for found in filter(None, (pattern.fullmatch(text) for pattern in _DATES)):
        year, month, day = (int(found[part]) for part in ("year", "month", "day"))
        if FIRST_YEAR <= year <= LAST_YEAR and (_is_day(year, month, day) or _is_day(year, day, month)):
            return "dates"
    return "names" if _NAME.fullmatch(text) and not _NO_NAME.search(text) else None


def _is_day(year: int, month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]


def advice(one: str, other: str, column: str | None = None) -> str:
    """Return what makes one id of two spellings, or says that they are two."""
    how = "text" if written(one, "text") == written(other, "text") else "digits"
    place = "" if column is None else f"column: {column}, "
    return f"`columns: {{subject: {{{place}normalise: {how}}}}}` makes them one person, `normalise: exact` two"


def _plain(text: str, *, zeros: bool) -> str:
    return _plain_ascii(text, zeros=zeros) if text.isascii() else _plain_unicode(text, zeros=zeros)


def _plain_ascii(text: str, *, zeros: bool) -> str:
    """Do what `_plain_unicode` does, ten times as fast: a million ids of people are written so."""
    folded = text.lower().strip()
    if found := _FLOAT.fullmatch(folded):
        folded = found[1]
    kept = "-".join(_OTHER.sub("", part) for part in _BETWEEN_NUMBERS.split(folded))
    return (kept if zeros else _ZEROS.sub("", kept)) or folded


def _plain_unicode(text: str, *, zeros: bool) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    if found := _FLOAT.fullmatch(folded):
        folded = found[1]
    # Separators become one sign, which counts between two numbers only: 1-12 is not 11-2, but P-1 is p1.
    marked = "".join("\0" if unicodedata.category(sign)[0] in "PZSC" else sign for sign in folded)
    runs = [run for run in _RUNS.findall(marked)]
    kept: list[str] = []
    for index, run in enumerate(runs):
        if run == "\0":
            before = kept[-1] if kept else ""
            after = next((later for later in runs[index:] if later != "\0"), "")
            if before[-1:].isdigit() and after[:1].isdigit():
                kept.append("-")
        else:
            kept.append(run if zeros or not run.isdigit() else run.lstrip("0") or "0")
    return "".join(kept) or folded
