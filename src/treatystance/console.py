"""What the commands share: how one is declared, and how it speaks. Data to standard output, the rest to the other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["add_command", "positive", "print_json", "say"]


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], what: str
) -> argparse.ArgumentParser:
    """Declare a command: `run` is what it does with its options, `what` the line that says so; returns its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(run=run)
    return parser


def positive(text: str) -> int:
    """The whole number of an option that must be at least 1.

    Raises:
        ValueError: not a whole number.
        argparse.ArgumentTypeError: less than 1.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def say(message: str) -> None:
    """Tell people something: a line on standard error."""
    print(message, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a value as one JSON text on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=1))
