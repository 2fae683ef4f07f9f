"""Place each reward of a set: ours in the trainer's process, users' in their own if they can be sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rewards.base import Reward, adapt, get
from rewards.users.packing import BUILT_IN, CannotBeSent, is_built_in, pack

if TYPE_CHECKING:
    from rewards.users.process import Made, UserProcess

Where = Literal["own", "trainer"]


@dataclass
class Placement:
    """The rewards of a set by where they run."""

    here: dict[str, Reward] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)  # users' rewards among those here
    sent: list[str] = field(default_factory=list)  # names of those in `process`
    process: "UserProcess | None" = None
    notes: list[str] = field(default_factory=list)  # which users' rewards could not be sent, and why


def place(
    names: Sequence[str],
    functions: Mapping[str, Callable[..., Any]],
    options: Mapping[str, Mapping[str, Any]],
    where: Where,
    timeout_seconds: float,
) -> Placement:
    """Make every reward where it runs; ValueError for a "module:function" that can't be had."""
    placed, made = Placement(), dict[str, "Made"]()
    users = [name for name in names if _is_users(name, functions)]
    for name in users if where == "own" else ():
        try:
            made[name] = pack(functions[name]) if name in functions else dict(options.get(name, {}))
        except CannotBeSent as error:
            _stays(placed, name, str(error))
    if made:
        from rewards.users.process import UserProcess  # not above: `import rewards` also runs inside sandboxes

        placed.process = UserProcess(made, timeout_seconds)
        for name, reason in placed.process.failed.items():
            if name not in functions:
                placed.process.close()
                raise ValueError(reason if reason.startswith("reward ") else f"reward {name!r}: {reason}")
            _stays(placed, name, f"there, {reason}")
        placed.sent = [name for name in made if name not in placed.process.failed]
        if not placed.sent:
            placed.process.close()
            placed.process = None
    for name in names:
        if name not in placed.sent:
            function = functions.get(name)
            placed.here[name] = adapt(function, name) if function else get(name, **options.get(name, {}))
    placed.guarded = {name for name in users if name in placed.here}
    return placed


def _is_users(name: str, functions: Mapping[str, Callable[..., Any]]) -> bool:
    if name in functions:
        return not is_built_in(functions[name])
    return ":" in name and name.partition(".")[0].partition(":")[0] not in BUILT_IN


def _stays(placed: Placement, name: str, reason: str) -> None:
    placed.notes.append(
        f"reward {name} runs in the trainer's process, where a crash or hang of it ends the run: {reason}"
    )
