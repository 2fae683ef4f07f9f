"""How much memory another process holds: the watchdog's eye where the system does not enforce limits (macOS ignores
RLIMIT_AS).
"""

import os
import subprocess
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, from /proc or else from `ps`; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0 if Path("/proc/self/statm").exists() else _by_ps(pid)


def _by_ps(pid: int) -> int:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(done.stdout) * 1024 if done.stdout.strip().isdecimal() else 0
