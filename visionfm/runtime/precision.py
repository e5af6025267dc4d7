"""Which processors compute in bf16 by instructions of their own; all others emulate it, several times slower than fp32.

Importing this and asking it imports no torch: plans ask. A processor or GPU is named by what makes bf16 fast on it.
"""

import shutil
import subprocess
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # the faster first; the last is ARM's
FIRST_GPU = (8, 0)  # compute capability: Ampere and later


def fast_on_cpu() -> str | None:
    """Return the instructions for bf16 that this machine's processors have; None where they have none."""
    known = set(CPU_INFO.read_text(encoding="utf-8").split()) if CPU_INFO.exists() else set()
    return next((name for name in INSTRUCTIONS if name in known), None)


def fast_on_gpus() -> str | None:
    """Return the compute capability of this machine's GPUs where all of them have bf16; None otherwise."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    try:
        found = [tuple(int(part) for part in line.split(".")) for line in said.stdout.split()]
    except ValueError:  # a driver too old to know the question: so are its GPUs
        return None
    least = min(found, default=(0, 0))
    return f"compute capability {'.'.join(map(str, least))}" if least >= FIRST_GPU else None
