"""What every test stands on. The BLAS of a Linux CPU has to be loaded before anything imports mlx.core."""

from grpo.cpu.blas import load_blas

load_blas()
