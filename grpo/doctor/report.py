"""Print the lines of `python -m grpo.doctor` and remember the failures for its exit code."""

from typing import Literal

from rewards.printable import printable

Mark = Literal["ok", "warn", "FAIL"]


class Report:
    """Prints lines as they are found and remembers what stands in the way."""

    def __init__(self) -> None:
        self.wrong_input: list[str] = []
        self.cannot_run: list[str] = []

    def say(self, mark: Mark, item: str, text: str) -> None:
        """Print one line of the report."""
        print(printable(f"{mark:<5} {item:<11} {text}"), flush=True)

    def quote(self, text: str) -> None:
        """Print a text of several lines below the last line, marked as a quotation."""
        for line in text.splitlines():
            print(printable(f"{'':18}| {line}"), flush=True)

    def refuse(self, item: str, text: str) -> None:
        """The user's input is wrong."""
        self.say("FAIL", item, text)
        self.wrong_input.append(text)

    def give_up(self, item: str, text: str) -> None:
        """The input is fine, the machine is not enough."""
        self.say("FAIL", item, text)
        self.cannot_run.append(text)
