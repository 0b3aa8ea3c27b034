"""Typer with this program's habits: plain help pages, and no option of which only the last value counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class _Command(TyperCommand):
    """A verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read a command line, and refuse an option given twice that takes one value."""
        _refuse_repetitions(self, ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run it. The end of a file is no answer that a person refused, as which typer takes it."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError("a file ended too early") from error


class _Group(TyperGroup):
    """Several verbs below one name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As for a verb, of the options before its name."""
        _refuse_repetitions(self, ctx, args)
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """The program, or a group of its verbs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=_Group, no_args_is_help=True, rich_markup_mode=None, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Decorates a verb."""
        return super().command(name, cls=_Command, **settings)


def _refuse_repetitions(command: Any, ctx: Any, args: list[str]) -> None:
    _, _, given = command.make_parser(ctx).parse_args(args=list(args))
    for option in {each for each in given if given.count(each) > 1}:
        if not option.multiple and (option.secondary_opts or not option.is_flag):
            raise typer.BadParameter("given more than once, and it takes one value", ctx=ctx, param=option)
