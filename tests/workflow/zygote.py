"""Runs `visionfm` and `snakemake` command lines in forks of one warm process: a hundred workflow runs in minutes.

The code that runs is the real one; only the start of Python and the imports are saved. `python zygote.py SOCKET`
serves; the scripts that `write_wrappers` makes are the clients.
"""

import contextlib
import importlib
import json
import logging
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import visionfm

PACKAGES = [
    "h5py",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pandas",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "sklearn.metrics",
    "snakemake.cli",
    "snakemake.report.html_reporter",
    "timm",
    "torch",
]
NOTE = """#!{python} -SE
import array, json, os, socket, sys
name = os.path.basename(sys.argv[0])
if name == "visionfm":
    if os.path.exists("fail-" + sys.argv[1]):
        os.unlink("fail-" + sys.argv[1])
        sys.exit("injected failure of " + sys.argv[1])
    with open("calls.log", "a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\\n")
"""
WARM = """link = socket.socket(socket.AF_UNIX)
link.connect({socket!r})
text = json.dumps([name, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(link, [len(text).to_bytes(8, "big")], [0, 1, 2])
link.sendall(text)
sys.exit(int(link.recv(16) or b"99"))
"""
COLD = """os.execv({python!r}, [{python!r}, "-m", "visionfm", *sys.argv[1:]])
"""


@contextlib.contextmanager
def warm(folder: Path, *launcher: str) -> Iterator[tuple[Path, int]]:
    """Serve from a folder, started by a launcher if one is given; yields the commands' folder, the server's process."""
    path = folder / "socket"
    server = subprocess.Popen([*launcher, sys.executable, __file__, str(path)], start_new_session=True)
    deadline = time.monotonic() + 300  # it imports everything first, which takes long beside other work
    while not path.exists():
        assert server.poll() is None, "the warm process ended"
        assert time.monotonic() < deadline, "the warm process did not start in five minutes"
        time.sleep(0.1)
    write_wrappers(folder / "bin", path)
    yield folder / "bin", server.pid
    server.kill()


def write_wrappers(folder: Path, socket_path: Path) -> None:
    """Write `visionfm` and `snakemake` commands that hand their command line to the server."""
    folder.mkdir()
    for name in ("visionfm", "snakemake"):
        script = folder / name
        script.write_text((NOTE + WARM).format(python=sys.executable, socket=str(socket_path)))
        script.chmod(0o755)


def write_cold_wrapper(folder: Path) -> None:
    """Write a `visionfm` that only notes the call, or fails as told, before the real one starts: for other machines."""
    folder.mkdir()
    script = folder / "visionfm"
    script.write_text((NOTE + COLD).format(python=sys.executable))
    script.chmod(0o755)


def kill(notes: Path) -> None:
    """SIGKILL to the processes whose ids were noted in a folder (NOTE_PIDS), and to all that they have started."""
    for note in notes.iterdir():
        with contextlib.suppress(ProcessLookupError):  # it was done
            os.killpg(int(note.name), signal.SIGKILL)


def serve(path: str) -> None:
    """Fork a child for each connection, for ever."""
    ours = (module.name for module in pkgutil.walk_packages(visionfm.__path__, "visionfm."))
    for name in (*PACKAGES, *ours):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    while True:
        link, _ = server.accept()
        if os.fork():
            link.close()
            continue
        if os.fork():  # the grandchild belongs to init: nothing waits for it here
            os._exit(0)
        server.close()
        link.sendall(str(_run(link)).encode())
        os._exit(0)


def _run(link: socket.socket) -> int:
    head, files, _, _ = socket.recv_fds(link, 8, 3)
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length:
        text += link.recv(length - len(text))
    name, arguments, folder, environment = json.loads(text)
    for number, file in enumerate(files):
        os.dup2(file, number)
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if notes := environment.get("NOTE_PIDS"):  # for who kills it, and all that it starts
        os.setsid()
        Path(notes, str(os.getpid())).touch()
    try:
        code = _call(name, arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _call(name: str, arguments: list[str]) -> int:
    from visionfm.artifacts.versions import VERSIONS

    VERSIONS.update(json.loads(os.environ.get("RAISED_VERSIONS", "{}")))
    sys.argv = [name, *arguments]
    if name == "visionfm":
        from visionfm.cli import main

        os.execve = _become_snakemake
        return main(arguments)
    from snakemake.cli import main as snakemake_main

    snakemake_main(arguments)
    return 0


def _become_snakemake(_path: str, command: list[str], _environment: dict[str, str]) -> int:
    """What `visionfm run` becomes by a cold start, at the end of which its jobs start cold, too."""
    logging.getLogger().handlers.clear()  # are visionfm's
    return _call("snakemake", command[3:])


if __name__ == "__main__":
    serve(sys.argv[1])
