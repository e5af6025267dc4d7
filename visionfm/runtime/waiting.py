"""How the threads of one process wait for each other: asleep, for other work needs the cores that spinning takes.

Said in the environment before torch loads, for its OpenMP reads it once; processes that are started inherit it.
Invariant: it changes when threads run, never what they compute.
"""

import os

# Of GNU's OpenMP (in torch's wheels), and of Intel's and LLVM's (in conda's builds; ms).
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def wait_asleep() -> None:
    """Let threads wait asleep, unless the environment says otherwise."""
    for name, value in ASLEEP.items():
        os.environ.setdefault(name, value)
