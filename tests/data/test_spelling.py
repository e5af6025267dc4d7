"""Ids that one person may have: which spellings are alike, and which are different people."""

import pytest

from visionfm.data.spelling import advice, alike, personal, written

SAME = [
    ("0012", "12"),
    ("0012", "12.0"),
    ("p000", "P-000"),
    ("P000", "P0000"),
    ("P 12", "p_12"),
    ("M\u00fcller", "M\u00dcLLER"),
    ("Mu\u0308ller 3", "m\u00fcller-03"),
    ("1-12", "01/12"),
    ("\uff11\uff12", "12"),
]
DIFFERENT = [("1-12", "11-2"), ("P10", "P1"), ("P1", "Q1"), ("12.5", "12"), ("3.10", "3.1"), ("100", "1"), ("0", "00a")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_id_are_alike(one: str, other: str) -> None:
    assert alike([one, other, "zz"]) == [sorted([one, other])] and written(one, "digits") == written(other, "digits")


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_ids_are_not(one: str, other: str) -> None:
    assert alike([one, other]) == []


@pytest.mark.parametrize("normalise", [None, "exact"])
def test_what_no_reader_sees_never_counts(normalise: str | None) -> None:
    assert written("Mu\u0308ller ", normalise) == "M\u00fcller" and written("12.0", normalise) == "12"
    assert written("0012", normalise) == "0012" and written("P-1", normalise) == "P-1"


def test_text_keeps_leading_zeros_and_digits_does_not() -> None:
    assert (
        written("P-012", "text") == "p012" and written("P-012", "digits") == "p12" and written("000", "digits") == "0"
    )
    assert "normalise: text" in advice("P1", "p-1") and "normalise: digits" in advice("P1", "P01", "id")
    assert "column: id, " in advice("P1", "P01", "id")


@pytest.mark.parametrize(
    "subject", ["Mueller, Anna", "SMITH_JOHN", "anna.mueller", "Lopez-Garcia Maria", "SMITH^JOHN", "SMITH^JOHN^A^^DR"]
)
def test_two_words_look_like_a_name(subject: str) -> None:
    assert personal(subject) == "names"


@pytest.mark.parametrize("subject", ["1956-03-02", "02.03.1956", "19560302", "02031956"])
def test_a_date_of_a_lifetime_looks_like_a_date_of_birth(subject: str) -> None:
    assert personal(subject) == "dates"


@pytest.mark.parametrize(
    "subject",
    [
        "12",
        "P-0012",
        "patient_a",
        "19561399",
        "34567890",
        "IDRiD_001",
        "healthy eye",
        "x",
        "DR mild",
        "OD OS",
        "dr_severe",
    ]
    + ["site_berlin", "hospital north", "AMD late", "FIVES train", "male young", "PATIENT^A"],
)
def test_plain_ids_look_like_neither(subject: str) -> None:
    assert personal(subject) is None
