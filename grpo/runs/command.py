"""Arguments, refusals and exit codes that the commands of this package share. Needs no mlx."""

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from grpo.config.loading import build, describe, load, read_yaml
from grpo.config.sections import ConfigError, Section

AnyConfig = TypeVar("AnyConfig", bound=Section)
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def parse(program: str, about: str, kind: type[Section], arguments: Sequence[str] | None) -> argparse.Namespace:
    """--config, --output, --resume and key=value overrides."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=about,
        epilog=describe(kind),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file")
    parser.add_argument("--output", type=Path, help="run directory; without it a new one under runs/")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, if there is one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys, e.g. lora.rank=8")
    return parser.parse_intermixed_args(arguments)


def configure(
    options: argparse.Namespace, kind: type[AnyConfig], default: str, *, packaged: Path | None = None
) -> tuple[AnyConfig, Path]:
    """Return the config and the run directory; `--resume` with an output alone takes the config recorded there.

    `packaged` is the recipe that is read where no --config is given; `default` names the run directory then.
    """
    recorded = options.output / "config.yaml" if options.output is not None else None
    alone = options.config is None and not options.overrides
    if options.resume and alone and recorded is not None and recorded.exists():
        config = build(kind, read_yaml(recorded), source=str(recorded))
    else:
        config = load(kind, options.config or packaged, options.overrides)
    stem = options.config.stem if options.config is not None else default
    given = options.output or getattr(config, "output", None)
    return config, Path(given) if given else _free(Path("runs") / stem, resume=options.resume)


def _free(path: Path, *, resume: bool) -> Path:
    """Return the first of runs/NAME, runs/NAME-2, ... that holds no run, or the last that does if it is resumed."""
    candidates = [path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 1000))]
    used = [candidate for candidate in candidates if (candidate / "config.yaml").exists()]
    return used[-1] if resume and used else next(candidate for candidate in candidates if candidate not in used)


def guarded(work: Callable[[], None], *, go_on: str = "") -> int:
    """Run it; return 0 if done, 2 for wrong input, 130 / 143 if interrupted after saving, 1 for another failure."""
    from grpo.cpu.blas import load_blas

    load_blas()  # before anything imports mlx
    from envs import DataError
    from grpo.runs.interrupt import Interrupted, TrainingFailed

    try:
        work()
    except (ConfigError, DataError) as error:
        return refuse(error)
    except Interrupted as error:
        say(f"{error}; what was done is saved. {go_on}".rstrip())
        return error.exit_code
    except TrainingFailed as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno in DISK_FAULTS or "disk is full" in str(error):
            return refuse(error, "; what was saved before is whole: make room and add --resume")
        raise
    return 0


def say(text: str) -> None:
    """Print one line for the user."""
    print(text, flush=True)


def refuse(error: Exception, advice: str = "") -> int:
    """Print one line on stderr; return exit code 2."""
    print(f"error: {' '.join(str(error).split())}{advice}", file=sys.stderr)
    return 2
