"""Read YAML that may be broken, huge or hostile: every fault is a ConfigError of one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from grpo.config.sections import ConfigError

MOST_BYTES = 1_000_000  # of a config file
MOST_VALUES = 50_000  # of one, aliases written out
DEEPEST = 50
MOST_MERGED = 100  # mappings that one takes in by `<<`
LONGEST_NUMBER = 400  # characters
MOST_BITS = 1024  # of an integer


class _Loader(yaml.SafeLoader):
    """The safe loader, which takes a key once: of two PyYAML would keep the last without a word."""

    flattened = 0  # keys of mappings so far, those that `<<` takes in too

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; YAMLError for a key that stands there twice."""
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take in what `<<` names; YAMLError for so much of it that a few lines would fill the memory."""
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge" and len(value.value) > MOST_MERGED and value.id == "sequence":
                raise yaml.MarkedYAMLError(
                    problem=f"<< names {len(value.value):,} mappings", problem_mark=key.start_mark
                )
        super().flatten_mapping(node)
        self.flattened += len(node.value)
        if self.flattened > MOST_VALUES:
            raise yaml.MarkedYAMLError(problem="<< takes in too many keys", problem_mark=node.start_mark)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """Return a number; 1:30 is a text and not, as in YAML 1.1, the 90 of a number to the base of 60."""
        text = str(self.construct_scalar(node))
        if len(text) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(text):,} characters")
        return text if ":" in text else super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, empty for an empty one; ConfigError if it holds something else."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the config {path}: {reason}") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"cannot read the config {path}: it is longer than {MOST_BYTES:,} bytes")
    tree = parse_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, got a {type(tree).__name__}")
    return tree


def parse_yaml(text: str, source: str, *, plain_text: bool = False) -> Any:
    """Return what a YAML text holds; with `plain_text` a text that is no YAML is taken as it is."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        if plain_text:
            return text
        raise ConfigError(f"{source} is no valid YAML: {' '.join(str(error).split())}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # a number of thousands of digits, a thirteenth month, a tag that its value does not fit
        raise ConfigError(f"{source} holds a value that can't be read: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source} is nested too deeply") from None
    _bounded(value, source)
    return value


def _bounded(value: Any, source: str) -> None:
    """Refuse what a few aliases blow up: values are counted as if every alias were written out."""
    count, waiting = 0, [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            raise ConfigError(f"{source} is too large or nested too deeply for a config (aliases are written out)")
        if isinstance(part, int) and part.bit_length() > MOST_BITS:
            raise ConfigError(f"{source} holds an integer of {part.bit_length():,} bits, which no key takes")
        if isinstance(part, Mapping):
            waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list | tuple | set):
            waiting += [(inner, depth + 1) for inner in part]
