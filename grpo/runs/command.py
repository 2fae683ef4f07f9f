"""Arguments, refusals and exit codes that the commands of this package share. Needs no mlx."""

import argparse
import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from grpo.config.layers import AnyConfig, Layer, merged, stack
from grpo.config.parsing import read_yaml
from grpo.config.reference import describe
from grpo.config.sections import NONE_WORDS, ConfigError, Section
from grpo.runs.ordinary import require_ordinary
from rewards.printable import printable, say

CONFIG_FILE = "config.yaml"
COMMAND_LINE = "# command:"
FULL_DISK = ("disk is full", "[write] Unable to write")  # the second is how mlx says it, without an errno
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def parse(
    program: str,
    about: str,
    kind: type[Section],
    arguments: Sequence[str] | None,
    *,
    trains: bool = True,
    roles: bool = False,
) -> argparse.Namespace:
    """Read --config, --output, --resume, key=value overrides.

    Where something is trained there is --accept-changes, and with `roles` --samplers and --learners.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=about,
        epilog=describe(kind),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(program=program)
    parser.add_argument("--config", type=Path, help="YAML file")
    parser.add_argument("--output", type=Path, help="run directory; without it a new one under runs/")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, if there is one")
    if trains:
        parser.add_argument(
            "--accept-changes",
            action="store_true",
            help="with --resume: go on although data, rewards' code or the model changed since the checkpoint",
        )
    parser.add_argument("--dry-run", action="store_true", help="check the settings and what they name; run nothing")
    if roles:
        parser.add_argument(
            "--samplers",
            type=int,
            default=0,
            metavar="N",
            help="of the processes of mlx.launch, the last N sample for the others, docs/scaling.md; 0 = all do both",
        )
        parser.add_argument(
            "--learners",
            type=int,
            default=1,
            metavar="M",
            help="with --samplers: processes that learn (1)",
        )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys, e.g. lora.rank=8")
    options = parser.parse_intermixed_args(arguments)
    if trains and options.accept_changes and not options.resume:
        parser.error("--accept-changes is for --resume: a new run has no checkpoint to differ from")
    return options


@dataclass(frozen=True)
class Settled(Generic[AnyConfig]):
    """A command's input: the config, the source of each key, and the run directory."""

    config: AnyConfig
    output: Path
    origins: Mapping[str, str] = field(default_factory=dict)  # "lora.rank" -> its source
    differing: Mapping[str, Sequence[str]] = field(default_factory=dict)  # source -> ["lora.rank=8", ...]

    def lines(self) -> list[str]:
        """Return a line for every source of settings that are not the defaults."""
        return [f"  {source}: {', '.join(pairs)}" for source, pairs in self.differing.items()]


def configure(
    options: argparse.Namespace,
    kind: type[AnyConfig],
    default: str,
    *,
    packaged: Callable[[Mapping[str, Any]], Layer | None] = lambda given: None,
    measured: Callable[[Mapping[str, Any]], Layer | None] = lambda given: None,
) -> Settled[AnyConfig]:
    """Return the config and the run directory; `--resume` starts from the config recorded there.

    `packaged` gives the recipe, if any, under what was given (a tree that is not validated) where there is no --config;
    `default` names the run directory then. `measured` gives what this machine was measured to do best, beneath all.
    """
    program, named = getattr(options, "program", None), command_of(options.config)
    if program is not None and named not in (None, program):
        raise ConfigError(f"{options.config} is for another command: python -m {named} --config {options.config}")
    layers = [Layer(str(options.config), read_yaml(options.config))] if options.config is not None else []
    given = merged(kind, layers, options.overrides)
    output = _output(options, given, default)
    require_ordinary(output)
    if options.resume and (output / CONFIG_FILE).exists():
        layers = [Layer(str(output / CONFIG_FILE), read_yaml(output / CONFIG_FILE)), *layers]
    elif options.config is None and (recipe := packaged(given)) is not None:
        layers = [recipe]
    if (lowest := measured(given)) is not None:
        layers = [lowest, *layers]
    loaded = stack(kind, layers, options.overrides)
    return Settled(loaded.config, output, loaded.origins, loaded.differing())


def command_of(config: Path | None) -> str | None:
    """Return the command that a config's first line names, as in `# command: distill.sft`; None where it names none."""
    try:
        first = config.read_text(encoding="utf-8").partition("\n")[0] if config is not None else ""
    except (OSError, ValueError):  # said by whoever reads it next
        return None
    words = first.removeprefix(COMMAND_LINE).split() if first.startswith(COMMAND_LINE) else []
    return words[0] if words else None


def _output(options: argparse.Namespace, given: Mapping[str, Any], default: str) -> Path:
    """Return the run directory: --output, the config's, or a free one under runs/."""
    stem = options.config.stem if options.config is not None else default
    named = options.output or given.get("output")
    if named is not None and str(named).strip().lower() not in NONE_WORDS:
        return Path(named)
    return free_directory(Path("runs") / stem, resume=options.resume)


def free_directory(path: Path, *, resume: bool) -> Path:
    """Return the first of runs/NAME, runs/NAME-2, ... that holds no run, or the last that does if it is resumed."""
    candidates = [path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 1000))]
    used = [candidate for candidate in candidates if (candidate / CONFIG_FILE).exists()]
    return used[-1] if resume and used else next(candidate for candidate in candidates if candidate not in used)


def guarded(
    work: Callable[[], None],
    *,
    go_on: str = "the same command",
    begin_again: str | None = None,
    saved: Callable[[], bool] = lambda: True,
    over_ranks: bool = False,
) -> int:
    """Run it; return 0 if done, 2 for wrong input, 130 / 143 if interrupted after saving, 1 for another failure.

    `go_on` is the command that continues it, `saved` says whether there is anything to continue from, `begin_again` is
    the command where there is not, if it is another. A command that does not run `over_ranks` is refused if a launcher
    has started several processes of it.
    """
    from grpo.cpu.blas import load_blas

    load_blas()  # before anything imports mlx
    from grpo.ranks import world
    from grpo.ranks.session import leave

    if world() > 1 and not over_ranks:
        return refuse(ConfigError(f"this command runs in one process, {world()} were launched: start it by itself"))
    return leave(_exit_code(work, go_on, begin_again or go_on, saved))


def _exit_code(work: Callable[[], None], go_on: str, begin_again: str, saved: Callable[[], bool]) -> int:
    from envs import DataError
    from grpo.ranks.alone import RankLost
    from grpo.ranks.session import quiet
    from grpo.runs.interrupt import Interrupted, TrainingFailed, Unread, unread

    try:
        try:
            work()
        except BrokenPipeError as error:
            raise Unread if unread() else error from None
    except (ConfigError, DataError) as error:
        return 2 if quiet(error) else refuse(error)
    except Interrupted as error:
        if quiet(error):
            return error.exit_code
        kept = f"{error}; what was done is saved. Go on with: {go_on}"
        lost = f"{error} before the first checkpoint: no step is saved. Begin again with: {begin_again}"
        say(kept if saved() else lost, sys.stderr if isinstance(error, Unread) else None)
        return error.exit_code
    except KeyboardInterrupt:  # before a flag takes signals: while libraries are imported
        say(f"interrupted before the first step. Begin again with: {go_on}")
        return 130
    except RankLost as error:
        if not quiet(error):
            way_on = f"what was done is saved. Go on with: {go_on}" if saved() else f"Begin again with: {begin_again}"
            print(printable(f"stopped: {error}; {way_on} (any number of processes)"), file=sys.stderr)
        return 1
    except TrainingFailed as error:
        if not quiet(error):
            print(printable(f"stopped: {error}"), file=sys.stderr)
        return 1
    except (OSError, RuntimeError) as error:
        if getattr(error, "errno", None) in DISK_FAULTS or any(sign in str(error) for sign in FULL_DISK):
            kept = "what was saved before is whole" if saved() else "no step was saved"
            return refuse(error, f"; {kept}: make room and go on with: {go_on}")
        raise
    return 0


def has_checkpoint(output: Path) -> bool:
    """Return whether a run directory holds a checkpoint."""
    return any((output / "checkpoints").glob("step_*"))


def refuse(error: Exception, advice: str = "") -> int:
    """Print one line on stderr; return exit code 2."""
    print(printable(f"error: {' '.join(str(error).split())}{advice}"), file=sys.stderr)
    return 2
