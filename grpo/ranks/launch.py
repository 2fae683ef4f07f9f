"""Read from the variables that launchers set how many processes make up a run. Needs no mlx."""

import json
import os
from pathlib import Path

SIZES = ("MLX_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # of mlx.launch with NCCL, of MPI
LISTS = ("MLX_HOSTFILE", "MLX_IBV_DEVICES")  # files of mlx.launch with one entry a rank: ring, JACCL
RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


def world() -> int:
    """Return the number of processes that a launcher started together; 1 without a launcher."""
    for name in SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    if "MLX_RANK" in os.environ:
        for name in LISTS:
            if name in os.environ:
                return max(1, len(_entries(os.environ[name])))
    return 1


def first_address() -> str | None:
    """Return the address of rank 0 as the launcher gave it; None where it gave none (MPI)."""
    for name in ("MLX_JACCL_COORDINATOR", "NCCL_HOST_IP"):
        if name in os.environ:
            return os.environ[name].rpartition(":")[0] or os.environ[name]
    hosts = _entries(os.environ["MLX_HOSTFILE"]) if "MLX_HOSTFILE" in os.environ else []
    return str(hosts[0][0]).rpartition(":")[0] if hosts and hosts[0] else None


def place() -> tuple[int, int]:
    """Return (rank, processes) as the launcher says, for work that is shared out in files and needs no collective."""
    named = (os.environ[name] for name in RANKS if os.environ.get(name, "").isdigit())
    return int(next(named, "0")), world()


def _entries(path: str) -> list[list[str]]:
    try:
        found = json.loads(Path(path).read_text() or "[]")
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
