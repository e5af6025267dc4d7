"""The two locks: what users install, and the same with what tests need."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS_ALONE = {"pytest", "mypy", "monai", "tensorboard", "scikit-survival", "statsmodels"}


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lock_for_tests_has_a_user_s_packages_in_the_same_versions() -> None:
    assert locked("requirements.lock").items() < locked("requirements-dev.lock").items()


def test_users_get_no_tools_of_tests_and_nothing_under_gpl() -> None:
    assert set(locked("requirements-dev.lock")) >= TESTS_ALONE
    assert not TESTS_ALONE & set(locked("requirements.lock"))
