"""Without a network every stage ends in the same bytes, and nothing has tried to reach one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zygote
from rerun_cases import RULES
from rerun_project import Project, assert_same

CUT_OFF = ("unshare", "--map-root-user", "--net")  # no interface but one to itself, which is down


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The commands of a machine without a network, and the process that they are forks of."""
    try:
        tried = subprocess.run([*CUT_OFF, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"a network cannot be cut off here: {error}")
    if tried.returncode:
        pytest.skip(f"a network cannot be cut off here: {tried.stderr.strip()}")
    with zygote.warm(tmp_path_factory.mktemp("cut_off"), *CUT_OFF) as served:
        yield served


def calls_to_the_network(process: int) -> int:
    """How many connections and packets the kernel has refused, for there is no way out."""
    lines = Path(f"/proc/{process}/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    six = dict(line.split() for line in Path(f"/proc/{process}/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])


def test_without_a_network_every_stage_writes_the_same_bytes_and_asks_for_none(
    cut_off: tuple[Path, int], fresh: Project, finished: Project, tmp_path: Path
) -> None:
    commands, process = cut_off
    before = calls_to_the_network(process)
    alone = Project(fresh.copy(tmp_path / "alone").folder, commands)
    assert {call.stage for call in alone.run()} == set(RULES)
    assert_same(alone.results(), finished.results())
    assert calls_to_the_network(process) == before


def test_a_call_to_a_network_is_refused_and_counted(cut_off: tuple[Path, int]) -> None:
    _, process = cut_off
    before = calls_to_the_network(process)
    call = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    done = subprocess.run(
        ["nsenter", "--preserve-credentials", "--user", "--net", f"--target={process}", "python3", "-c", call],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "unreachable" in done.stderr and calls_to_the_network(process) > before
