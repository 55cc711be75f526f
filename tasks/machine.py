"""What the machine that coordinates a campaign has to spare, under the names of MLflow's system metrics; read from /proc."""

import os
import shutil
from pathlib import Path

from fedquad.store.campaign import home

PAGE = os.sysconf("SC_PAGE_SIZE")


def figures() -> dict[str, float]:
    """As it is now: this process's memory and CPU time, the machine's load, memory and disk."""
    resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    spent = os.times()
    return {
        "system/coordinator_memory_bytes": float(int(resident) * PAGE),
        "system/coordinator_cpu_seconds": spent.user + spent.system,
        "system/load": os.getloadavg()[0],
        "system/memory_available_bytes": 1024.0 * int(memory["MemAvailable"].split()[0]),
        "system/disk_available_bytes": float(shutil.disk_usage(home()).free),
    }
