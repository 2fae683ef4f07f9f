"""Tasks and environments that answer: `envs.make(name, **options)`. Needs no mlx."""

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply, Tool
from envs.registry import available, make

__all__ = ["Conversation", "DataError", "Env", "Message", "Reply", "Task", "Tool", "available", "make"]
