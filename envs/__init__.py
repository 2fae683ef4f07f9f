"""Where tasks come from and how an environment answers: `envs.make(name, **options)`. Needs no mlx."""

from envs.base import DataError, Env, Task
from envs.registry import available, make

__all__ = ["DataError", "Env", "Task", "available", "make"]
