"""What every test stands on. The BLAS of a Linux CPU has to be loaded before anything imports mlx.core."""

import os

from grpo.cpu.blas import load_blas

load_blas()
os.environ["GRPO_TUNED"] = ""  # what was measured for this machine's user is none of the tests' business
