"""A throw-away SLURM cluster on loopback: three virtual nodes, two of them with four pretended GPUs each.

    eval "$(python tests/slurm/cluster.py start FOLDER)"     # starts it and points the client commands at it
    python tests/slurm/cluster.py stop FOLDER

Needs Debian's slurm-wlm and munge. All state (key, configuration, sockets, logs, spool) lies in FOLDER; nothing in /etc
is read or written, every listener is on 127.0.0.1. Partitions: `cpu` (default), `gpu`, those that kinds of sites have,
and `urgent`, whose jobs take nodes from the others' by requeueing them. Nodes have the feature `rome`, those with GPUs
`milan`; there is a licence `data`. There is no accounting: `sacct` has nothing to say.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = {"cpu1": 0, "gpu1": 4, "gpu2": 4}  # name: GPUs
DAEMONS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol")
CLIENTS = ("srun", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "sacct", "sacctmgr", "sshare")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PARTITIONS = {  # a partition of the higher tier preempts; `long` hours are for nobody here
    "cpu": "Nodes=cpu1 Default=YES PriorityTier=10 PreemptMode=REQUEUE",
    "gpu": "Nodes=gpu[1-2] PriorityTier=10 PreemptMode=REQUEUE",
    "urgent": "Nodes=cpu1,gpu[1-2] PriorityTier=100 PreemptMode=OFF",
    **dict.fromkeys(("short", "long"), "Nodes=cpu1 PriorityTier=10 PreemptMode=REQUEUE"),
    "debug": "Nodes=gpu[1-2] PriorityTier=10 PreemptMode=REQUEUE",
    "all": "Nodes=cpu1,gpu[1-2] PriorityTier=10 PreemptMode=REQUEUE",
}


def missing() -> str:
    """Return why no cluster can be started here; empty where one can."""
    if sys.platform != "linux":
        return "SLURM runs on Linux only"
    lacking = [name for name in DAEMONS if shutil.which(name, path=PATH) is None]
    return f"no {', '.join(lacking)}: apt-get install slurm-wlm munge" if lacking else ""


class Cluster:
    """Daemons of one cluster, as children of this process or found again by their process ids in `folder`."""

    def __init__(self, folder: Path, cpus: int = 8, memory_mb: int = 16000) -> None:
        """`folder` is absolute and short (it holds Unix sockets); `cpus` and `memory_mb` are what a node claims."""
        self.folder, self.cpus, self.memory_mb = folder, cpus, memory_mb
        self.conf = folder / "etc/slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """Return what a user's shell needs: the client commands, which know this cluster's configuration."""
        mine = {name: text for name, text in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        return mine | {"SLURM_CONF": str(self.conf), "PATH": f"{self.folder / 'bin'}:{mine['PATH']}"}

    # --- life and death ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all daemons and wait until every node is idle; RuntimeError with the last lines of a log otherwise."""
        for name in ("etc", "run", "log", "state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        ports = _free_ports(2 + len(NODES))
        self._write_configuration(ports)
        self._write_clients()
        key = self.folder / "etc/munge.key"
        if not key.exists():
            subprocess.run(["mungekey", "-c", "-k", key], check=True, env={"PATH": PATH})
            key.chmod(0o600)
        run = self.folder / "run"
        self._launch(
            "munged",
            ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={run}/munge.socket"]
            + [f"--pid-file={run}/munged.pid", f"--log-file={self.folder}/log/munged.log", f"--seed-file={run}/seed"],
        )
        self._wait("munged", 20, lambda: (run / "munge.socket").exists())
        self.start_controller()
        for name in NODES:
            self.start_node(name)
        self._wait("slurmctld", 60, lambda: self.states() == dict.fromkeys(NODES, "idle"))

    def start_controller(self) -> None:
        """Start slurmctld, which takes up the saved state where there is one."""
        self._launch("slurmctld", ["slurmctld", "-D", "-f", str(self.conf)])
        self._wait("slurmctld", 30, lambda: "is UP" in self.ask("scontrol", "ping"))

    def start_node(self, name: str) -> None:
        """Start the slurmd of one node."""
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        self._launch(f"slurmd.{name}", ["slurmd", "-D", "-f", str(self.conf), "-N", name])

    def stop(self) -> None:
        """End every job, every daemon and whatever they left running."""
        if self._pid("slurmctld"):
            self.ask("scancel", "--quiet", *self.jobs())
            _until(10, lambda: not self.jobs())
        for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "munged"):
            self.end(name)
        for pid in self._steps():
            _kill_tree(pid)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a daemon (`slurmctld`, `slurmd.gpu1`) and wait for it."""
        if pid := self._pid(name):
            os.kill(pid, number)
            if not _until(15, lambda: not self._pid(name)):
                os.kill(pid, signal.SIGKILL)
                _until(5, lambda: not self._pid(name))
        (self.folder / f"run/{name}.process").unlink(missing_ok=True)

    def lose_node(self, name: str) -> None:
        """Let a node die at once: its slurmd, and all that its jobs run."""
        jobs = self.ask("squeue", "-h", "-t", "R", "-w", name, "-o", "%A").split()
        self.end(f"slurmd.{name}", signal.SIGKILL)
        for pid in self._steps(jobs):
            _kill_tree(pid)

    # --- questions --------------------------------------------------------------------------------------------------

    def ask(self, *command: str) -> str:
        """Return what a client command prints; empty when it fails or takes 20 s."""
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=20, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, state: str = "PD,R,CG") -> list[str]:
        """Return the ids of the jobs in these states."""
        return self.ask("squeue", "-h", "-t", state, "-o", "%A").split()

    def job(self, job_id: str) -> dict[str, str]:
        """Return what `scontrol show job` says, by field."""
        words = re.findall(r"(?:^|\s)([A-Za-z:/]+)=(\S*)", self.ask("scontrol", "show", "job", job_id))
        return dict(words)

    def history(self) -> list[dict[str, str]]:
        """Return all jobs that the controller remembers, oldest first; `Comment` names a job's rule or group."""
        said = self.ask("scontrol", "-o", "show", "job")
        jobs = [dict(re.findall(r"(?:^|\s)([A-Za-z:/]+)=(\S*)", line)) for line in said.splitlines()]
        return sorted((job for job in jobs if "JobId" in job), key=lambda job: int(job["JobId"]))

    def states(self) -> dict[str, str]:
        """Return each node's state, such as `idle`; a trailing * says that it does not answer."""
        lines = self.ask("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    # --- how it is done ---------------------------------------------------------------------------------------------

    def _launch(self, name: str, command: list[str]) -> None:
        with (self.folder / f"log/{name}.out").open("ab") as out:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # the cluster outlives an interrupted test, and is stopped by its folder
                env={"PATH": PATH, "SLURM_CONF": str(self.conf), "LC_ALL": "C"},
            )
        (self.folder / f"run/{name}.process").write_text(f"{daemon.pid} {_started(daemon.pid)}")

    def _pid(self, name: str) -> int:
        """Return a daemon's process id, 0 where it does not run; a recycled id has another start time."""
        record = self.folder / f"run/{name}.process"
        if not record.exists():
            return 0
        pid, started = record.read_text().split()
        _reap(int(pid))
        return int(pid) if _started(int(pid)) == started else 0

    def _wait(self, name: str, seconds: float, ready: Callable[[], bool]) -> None:
        if not _until(seconds, ready):
            logs = [self.folder / f"log/{name}.{kind}" for kind in ("out", "log")]
            last = "\n".join(line for log in logs if log.exists() for line in log.read_text().splitlines()[-12:])
            raise RuntimeError(f"{name} was not ready within {seconds:g} s; nodes: {self.states()}\n{last}")

    def _steps(self, jobs: list[str] | None = None) -> list[int]:
        """Return the slurmstepd processes of this cluster, of some jobs or of all."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # gone meanwhile, or another user's
                continue
            job = re.match(r"slurmstepd: \[(\d+)\.", command)
            mine = f"SLURM_CONF={self.conf}".encode() in environment
            if job and mine and (jobs is None or job[1] in jobs):
                found.append(int(folder.name))
        return found

    def _write_clients(self) -> None:
        """Write client commands that carry SLURM_CONF themselves: Snakemake's job steps run without it."""
        for name in CLIENTS:
            if real := shutil.which(name):
                path = self.folder / "bin" / name
                path.write_text(f'#!/bin/sh\nSLURM_CONF={self.conf} exec {real} "$@"\n')
                path.chmod(0o755)

    def _write_configuration(self, ports: list[int]) -> None:
        folder, host, user = self.folder, socket.gethostname().split(".")[0], pwd.getpwuid(os.getuid()).pw_name
        plugins = next(iter(sorted(Path("/usr/lib").glob("*/slurm-wlm"))), Path("/usr/lib/slurm"))
        nodes, gres = [], []
        for (name, gpus), port in zip(NODES.items(), ports[2:], strict=True):
            generic = f"Gres=gpu:a100:{gpus}" if gpus else ""
            nodes.append(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus}"
                f" RealMemory={self.memory_mb} {generic} Feature={'milan' if gpus else 'rome'} State=UNKNOWN"
            )
            # SLURM sets CUDA_VISIBLE_DEVICES for character devices only: these are all /dev/null.
            for number in range(gpus):
                device = folder / f"dev/{name}/nvidia{number}"
                device.parent.mkdir(parents=True, exist_ok=True)
                device.unlink(missing_ok=True)
                device.symlink_to("/dev/null")
                gres.append(f"NodeName={name} Name=gpu Type=a100 File={device}")
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": ports[0],
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            # A requeued job waits as long as a credential lives: 120 s by default.
            "AuthInfo": f"socket={folder}/run/munge.socket,cred_expire=5",
            "CredType": "cred/munge",
            "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
            "SlurmdPidFile": f"{folder}/run/slurmd.%n.pid",
            "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
            "SlurmdLogFile": f"{folder}/log/slurmd.%n.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "PluginDir": plugins,
            "PlugStackConfig": f"{folder}/etc/plugstack.conf",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "GresTypes": "gpu",
            "Licenses": "data:2",
            "SlurmdParameters": "config_overrides",
            "ReturnToService": 2,
            "SlurmdTimeout": 15,  # a lost node is missed after so long
            "KillWait": 5,  # a stage that asked to be requeued waits to be killed
            "MinJobAge": 3600,  # shorter, and Snakemake asks sacct, which never answers here
            "SchedulerParameters": "sched_min_interval=100000,batch_sched_delay=0,bf_interval=1,defer_batch",
            "JobRequeue": 1,
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "PropagateResourceLimits": "NONE",
            "MessageTimeout": 30,
            "AccountingStorageType": "accounting_storage/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": 1,
            "JobAcctGatherParams": "OverMemoryKill",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines += [*nodes, *(f"PartitionName={name} {rest} State=UP" for name, rest in PARTITIONS.items())]
        self.conf.write_text("\n".join(lines) + "\n")
        (folder / "etc/gres.conf").write_text("\n".join(gres) + "\n")
        (folder / "etc/cgroup.conf").write_text("CgroupAutomount=no\n")
        (folder / "etc/plugstack.conf").write_text("")


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now; all are held at once, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _until(seconds: float, ready: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return True
        time.sleep(0.2)
    return ready()


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks; empty for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _reap(pid: int) -> None:
    """Collect a daemon that this process started and that has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # started by another process
        return


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:
            continue
        for child in below:
            yield from _descendants(int(child))
            yield int(child)


def _kill_tree(pid: int) -> None:
    for one in (*_descendants(pid), pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main() -> None:
    """`start FOLDER` prints what a shell needs; `stop FOLDER` ends it."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    cluster = Cluster(Path(sys.argv[2]).resolve())
    if sys.argv[1] == "stop":
        cluster.stop()
        return
    if reason := missing():
        sys.exit(reason)
    try:
        cluster.start()
    except RuntimeError:
        cluster.stop()
        raise
    print(f"export SLURM_CONF={cluster.conf} PATH={cluster.folder / 'bin'}:$PATH")


if __name__ == "__main__":
    main()
