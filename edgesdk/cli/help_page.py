"""Help pages: options in panels, one column of names, one of texts, examples below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typer.core import TyperArgument, TyperCommand, TyperGroup

from edgesdk.cli import options as opt

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["HelpCommand", "HelpGroup", "examples_text"]

_OPTIONS = "Options"
_COMMANDS = "Commands"
#: Widest page and widest column of names, in characters.
_PAGE_WIDTH = 100
_NAMES_WIDTH = 27


def examples_text(examples: dict[str, str]) -> str:
    """Format examples for the end of a help page.

    Args:
        examples: Command lines by purpose; a line that ends in a backslash continues.
    """
    lines = ["Examples:"]
    for purpose, command in examples.items():
        lines += [f"  # {purpose}", *(f"  {line}" for line in command.splitlines())]
    return "\n".join(lines)


class HelpCommand(TyperCommand):
    """A command with such a page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page; see :class:`typer.core.TyperCommand`."""
        formatter.write(_page(self, ctx))

    def get_help_option(self, ctx: Any) -> Any:
        """Return ``--help``, listed beside ``--json``."""
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel, option.help = opt.OUTPUT, "Print this page."
        return option


class HelpGroup(TyperGroup):
    """A group of commands with such a page.

    Attributes:
        order: Names of the commands in the order of the page.
    """

    order: ClassVar[tuple[str, ...]] = ()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page; see :class:`typer.core.TyperGroup`."""
        formatter.write(_page(self, ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in their order."""
        return list(self.order) or super().list_commands(ctx)


def _panel(item: Any, default: str) -> str:
    # Typer marks what was not given with an object of its own.
    panel = getattr(item, "rich_help_panel", None)
    return panel if isinstance(panel, str) else default


def _page(command: Any, ctx: Any) -> str:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    panels: dict[str, list[tuple[Text, Text]]] = {}
    if isinstance(command, HelpGroup):
        for name in command.list_commands(ctx):
            one = command.commands[name]
            row = (Text(name, "bold cyan"), Text((one.help or "").partition("\n\n")[0]))
            panels.setdefault(_panel(one, _COMMANDS), []).append(row)
    commands = set(panels)
    parameters = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    for parameter in parameters:
        row = (_names(parameter), _help(parameter))
        panels.setdefault(_panel(parameter, _OPTIONS), []).append(row)

    # One column of names for all panels of options, one for all panels of commands.
    widths = {False: 0, True: 0}
    for title, rows in panels.items():
        widest = max(len(names) for names, _ in rows)
        widths[title in commands] = min(max(widths[title in commands], widest), _NAMES_WIDTH)
    console = Console(highlight=False)
    console.width = min(console.width, _PAGE_WIDTH)
    with console.capture() as captured:
        arguments = [one.metavar for one in parameters if isinstance(one, TyperArgument)]
        usage = [ctx.command_path, *arguments, "[OPTIONS]"]
        if isinstance(command, HelpGroup):
            usage.append("COMMAND")
        console.print(Text.assemble(("Usage: ", "bold"), " ".join(usage)))
        console.print()
        paragraphs = (command.help or "").split("\n\n")
        console.print(Text("\n\n".join(" ".join(one.split()) for one in paragraphs)))
        console.print()
        for title, rows in panels.items():
            table = Table.grid(padding=(0, 2, 0, 0), expand=True)
            table.add_column(width=widths[title in commands])
            table.add_column(ratio=1)
            for row in rows:
                table.add_row(*row)
            console.print(Panel(table, title=title, title_align="left", border_style="dim"))
        for line in (command.epilog or "").splitlines():
            style = "bold" if line.endswith(":") else "dim" if line.startswith("  #") else ""
            console.print(Text(line, style))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _names(parameter: Any) -> Text:
    from rich.text import Text

    if isinstance(parameter, TyperArgument):
        return Text(parameter.metavar or "", "bold cyan")
    long = [name for name in parameter.opts if name.startswith("--")]
    short = [name for name in parameter.opts if not name.startswith("--")]
    names = ", ".join(["/".join([*long, *parameter.secondary_opts]), *short])
    value = "" if parameter.is_flag else f" {parameter.metavar}"
    return Text.assemble((names, "bold cyan"), (value, "yellow"))


def _help(parameter: Any) -> Text:
    from rich.text import Text

    text = parameter.help or ""
    if parameter.required:
        text += " Required."
    elif parameter.show_default is True and not parameter.is_flag and parameter.default:
        default = parameter.default
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        text = f"{text.removesuffix('.')} (default: {shown})."
    return Text(text)
