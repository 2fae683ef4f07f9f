"""Find what a user's `package.module:name` stands for; the module may lie in the current directory."""

import difflib
import importlib
import os
import sys
import traceback
from typing import Any


def user_object(reference: str, what: str) -> Any:
    """The object of that name in that module; ValueError, one line that begins with `what`, where there is none."""
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"{what} {reference!r} must read 'package.module:function'")
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.append(directory)  # at the end: a file beside the config must not shadow an installed package
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # the user's module may fail in any way while it is imported
        raise ValueError(f"{what} {reference!r}: module {module_name} not imported: {one_line(error)}") from error
    for part in attribute.split("."):  # a method is Class.method
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=3)
            hint = f", did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"{what} {reference!r}: {module_name} has no function {attribute!r}{hint}")
        found = getattr(found, part)
    return found


def one_line(error: BaseException) -> str:
    """Return an exception's type and text; its `__str__` may be anybody's."""
    try:
        text = str(error)
    except BaseException:
        text = "its text can't be had"
    return " ".join(f"{type(error).__name__}: {text}".split())[:300]


def raised_at(error: BaseException) -> str:
    """`FILE line N` of the innermost frame of an exception, "" without one."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({os.path.basename(frames[-1].filename)} line {frames[-1].lineno})" if frames else ""
