"""What a cell says: a number, unknown, an eye, a code. What could be read in two ways is named, not read."""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from visionfm.data.tables.block import TableFile

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
UNKNOWN = ("", "null", "NULL", "NA", "NaN", "nan")
USUALLY_UNKNOWN = ("n/a", "#n/a", "none", "-", "--", ".", "?", "unknown", "missing", "k.a.", "nd", "n.d.", "/")
_RIGHT = (
    *("r", "re", "od", "right", "oculusdexter", "dexter", "dx", "rechts", "rechtes", "rechter", "ra", "droit"),
    *("droite", "derecho", "derecha", "destro", "destra", "direito", "direita", "prawe", "prawy", "hoger", "sag"),
    *("\u53f3", "\u53f3\u773c", "\uc6b0\uc548", "\u043f\u0440\u0430\u0432\u044b\u0439"),
)
_LEFT = (
    *("l", "le", "os", "left", "oculussinister", "sinister", "sx", "links", "linkes", "linker", "la", "gauche"),
    *("izquierdo", "izquierda", "oi", "sinistro", "sinistra", "esquerdo", "esquerda", "oe", "og", "lewe", "lewy"),
    *("vanster", "sol", "\u5de6", "\u5de6\u773c", "\uc88c\uc548", "\u043b\u0435\u0432\u044b\u0439"),
)
_THE_EYE = re.compile(r"(?:eye|auge|oeil|ojo|occhio|olho|oog|oko|goz)")
_LOOKS_LIKE = str.maketrans("OoIlSB", "001158")
_UNIT = re.compile(r"([<>~=+-]?\s*[0-9]*[.,]?[0-9]+)\s*(?:[^\W\d_]|[%\u00b0/\u00b2\u00b3.])[^\d]*")


def is_number(text: str) -> bool:
    """Tell whether a text is a finite number of ASCII digits."""
    return NUMBER.fullmatch(text) is not None and abs(float(text)) != float("inf")


def number(text: str) -> float:
    """Return a finite number of ASCII digits; raise ValueError, with the nearest reading, for anything else."""
    if not is_number(text):
        raise ValueError(f"expected a number, found {text!r}{nearest_number(text)}")
    return float(text)


def nearest_number(text: str) -> str:
    """Return, as the end of a message, what number a text is most like; nothing is read so.

    >>> nearest_number("7O"), nearest_number("45,5"), nearest_number("21 mmHg")
    ('; nearest: 70', '; nearest: 45.5, with `decimal: ","`', '; nearest: 21')
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if plain.casefold() in USUALLY_UNKNOWN:
        return f"; if it means unknown: `table: {{file: ..., unknown: [{plain!r}]}}`"
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", plain):
        return f'; nearest: {plain.replace(",", ".")}, with `decimal: ","`'
    for candidate in (plain, re.sub(r"(?<=[0-9])[ '](?=[0-9]{3})", "", plain), plain.translate(_LOOKS_LIKE)):
        if is_number(candidate) and any(sign.isdigit() for sign in plain):
            return f"; nearest: {candidate}"
    if found := _UNIT.fullmatch(plain):
        return f"; nearest: {found[1].lstrip('<>~= ').replace(',', '.')}"
    if plain[:1] in "<>~=" and is_number(plain.lstrip("<>~= ")):
        return f"; nearest: {plain.lstrip('<>~= ')}"
    return ""


def plain_number(text: str, how: TableFile) -> str:
    """Return a text as it is, or a number with a decimal comma as one with a point where the table has commas."""
    if how.decimal == "," and re.fullmatch(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?", text):
        return text.replace(",", ".")
    return text


def is_unknown(text: str, how: TableFile) -> bool:
    """Tell whether a cell says nothing: empty, one of the usual words, or one that the config names."""
    return text in UNKNOWN or text in how.unknown


@lru_cache(maxsize=1024)
def read_eye(text: str) -> str | None:
    """Return R or L for the eye's usual names in several languages; None for any other word, also for both eyes."""
    plain = _letters(text)
    return _EYES.get(plain) or _EYES.get(_THE_EYE.sub("", plain))


def _letters(text: str) -> str:
    """Return letters and digits alone, small and without accents: `O.D.` and `od` are one word."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text.casefold()) if sign.isalnum())


_EYES = {_letters(word): eye for words, eye in ((_RIGHT, "R"), (_LEFT, "L")) for word in words}


def coded(text: str, values: Mapping[str, str | None]) -> tuple[bool, str | None]:
    """Return whether a code is among the values, and what it means; 1 and 1.0 are one code."""
    if text in values:
        return True, values[text]
    if is_number(text):
        for code, value in values.items():
            if is_number(code) and float(code) == float(text):
                return True, value
    return False, None
