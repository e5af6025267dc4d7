"""Benchmarks: each prints `name | reference | ours | ratio | wanted`, reference and ours in the same run.

Threads wait as those of stages do, on both sides.
"""

from visionfm.runtime.waiting import wait_asleep

wait_asleep()
