"""Memory that training can have, from /proc/meminfo.

    MemTotal:       24683656 kB
    MemAvailable:   23095232 kB

On unified memory `torch.cuda.mem_get_info()` returns MemFree, which leaves out the page cache that the kernel would give up.
"""

import re
from math import nan

RESERVE_BYTES = 768 * 2**20  # for the system while training; the CUDA context is counted with the model
LINE = re.compile(r"^(\w+):[ \t]+([0-9]{1,15}) kB[ \t]*$", re.ASCII | re.MULTILINE)


def parse_meminfo(text: str) -> dict[str, float]:
    """Bytes by field."""
    return {name: 1024.0 * int(kilobytes) for name, kilobytes in LINE.findall(text)}


def total_and_free(text: str, reserve_bytes: float = RESERVE_BYTES) -> tuple[float, float]:
    """All memory, and what is available less the reserve; nan where it is not said."""
    found = parse_meminfo(text)
    free = found.get("MemAvailable", nan) - reserve_bytes
    return found.get("MemTotal", nan), free if free != free else max(0.0, free)
