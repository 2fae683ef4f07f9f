"""Measure how much memory this machine has left."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def available_bytes() -> tuple[int, str]:
    """Memory a run may use here, and what that is: Metal's recommended working set, the GPU's, or free main memory."""
    gpu = _gpu_bytes()
    if gpu is not None:
        return gpu
    free = [_meminfo(), _cgroup_left()]
    known = [size for size in free if size is not None]
    if known:
        return min(known), "of main memory free now"
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "of main memory"


def _gpu_bytes() -> tuple[int, str] | None:
    import mlx.core as mx

    if mx.default_device().type == mx.DeviceType.cpu:
        return None
    info: Mapping[str, Any] = mx.device_info() if hasattr(mx, "device_info") else mx.metal.device_info()
    for key, meaning in (
        ("max_recommended_working_set_size", "that Metal recommends to stay within"),
        ("free_memory", "of GPU memory free now"),
        ("total_memory", "of GPU memory"),
        ("memory_size", "of memory"),
    ):
        if info.get(key):
            return int(info[key]), meaning
    return None


def _meminfo(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _cgroup_left(folders: Sequence[Path] = (Path("/sys/fs/cgroup"),)) -> int | None:
    """Return the memory that a container's limit leaves, if there is one."""
    for folder in folders:
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            return int(limit) - used
    return None
