"""What three kinds of sites answer becomes lines of a profile that the workflow reads."""

from collections.abc import Sequence

import pytest
import yaml

from visionfm.errors import UsageError
from visionfm.project.found_site import found_site
from visionfm.project.site import read_site

HOSPITAL = {
    "sinfo": "short*|16|64000|(null)|4:00:00\nlong|16+|64000+|(null)|14-00:00:00\n"
    "gpu|64|512000|gpu:a100:4(S:0-1)|2-00:00:00\n",
    "scontrol": "SelectType              = select/cons_tres\nMinJobAge               = 300 sec\nJobRequeue = 1\n"
    "AccountingStorageType   = accounting_storage/slurmdbd\n",
    "sacctmgr": "eyes||normal\n",
}
OLD = {
    "sinfo": "all*|8|16000|gpu:2|infinite\n",
    "scontrol": "SelectType = select/cons_res\nMinJobAge = 10 sec\nJobRequeue = 0\n"
    "AccountingStorageType = accounting_storage/none\n",
}
CENTRE = {
    "sinfo": "cpu*|128|256000|(null)|1-00:00:00\ngpu|64|512000|gpu:a100:4|1-00:00:00\n"
    "gpu|48|384000|gpu:v100:8|1-00:00:00\n",
    "scontrol": "SelectType = select/cons_tres\nMinJobAge = 60 sec\n"
    "AccountingStorageType = accounting_storage/slurmdbd\nAccountingStorageEnforce = associations,limits,qos\n",
    "sacctmgr": "heart|gpu|medical\neyes|gpu|medical\n",
}


def asked(site: dict[str, str]) -> list[str]:
    def ask(command: Sequence[str]) -> str | None:
        return site.get(command[0])

    return found_site(ask)


@pytest.mark.parametrize(
    ("site", "config", "beside"),
    [
        (
            HOSPITAL,
            {"cpu_partition": "short", "gpu_partition": "gpu", "account": "eyes"},
            {"slurm-status-command": "squeue", "cores": 64, "resources": {"mem_mb": 512000, "gpu": 4}},
        ),
        (
            OLD,
            {"cpu_partition": "all", "gpu_partition": "all", "gres": "gpu"},
            {"slurm-status-command": "squeue", "slurm-requeue": False, "slurm-no-requeue": True},
        ),
        (CENTRE, {"cpu_partition": "cpu", "gpu_partition": "gpu", "qos": "medical"}, {"slurm-status-command": "sacct"}),
    ],
    ids=["hospital", "old", "centre"],
)
def test_a_sites_lines_are_those_that_the_workflow_reads(
    site: dict[str, str], config: dict[str, str], beside: dict[str, object]
) -> None:
    profile = yaml.safe_load("\n".join(asked(site)))
    assert profile["config"] == config and profile.items() >= beside.items()
    read_site(profile["config"], ())


def test_where_there_is_a_choice_a_comment_names_it() -> None:
    assert "long (up to 14-00:00:00)" in asked(HOSPITAL)[1]
    centre = "\n".join(asked(CENTRE))
    assert "# gpu_model: a100  # one of a100, v100" in centre and "# account: one of eyes, heart" in centre
    assert "ask the admins for MinJobAge=300" in "\n".join(asked(OLD))


def test_without_an_answer_it_says_where_to_ask() -> None:
    with pytest.raises(UsageError, match="`sinfo` does not answer"):
        asked({})
