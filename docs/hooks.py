"""Pages of the site that are no files of docs/: the README, the examples, the command line.

The README and the examples are read where they are; links between them and docs/ are turned round
for the site. The page of the command line is made from the commands themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from energy_guard.cli.app import app

ROOT: Final = Path(__file__).parent.parent
COPIED: Final = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/**/*.md",
    "examples/**/*.py",
    "examples/**/*.ipynb",
    "integrations/*/README.md",
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {"index.md": site_links((ROOT / "README.md").read_text("utf-8"))}
    for pattern in COPIED:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            pages[name] = site_links(path.read_text("utf-8"))
    pages["reference/command-line.md"] = command_line()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links of docs/ to the examples into links of the site."""
    return re.sub(r"\]\((?:\.\./)((?:\.\./)*examples/)", r"](\1", markdown)


def site_links(markdown: str) -> str:
    """Turn links from outside of docs/ to its pages into links of the site."""
    return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)


def command_line() -> str:
    """Return the page of all commands, with their arguments, options and defaults."""
    program = typer.main.get_command(app)
    context = click.Context(program, info_name="energy-guard")
    lines = ["# Command line", "", program.help or "", ""]
    for name, command, inner in _commands(program, context):
        lines += [f"## {name}", "", *_described(command, inner)]
    return "\n".join(lines) + "\n"


def _commands(
    group: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    for name, command in getattr(group, "commands", {}).items():
        inner = click.Context(command, info_name=name, parent=context)
        if getattr(command, "commands", None):
            yield from _commands(command, inner)
        else:
            yield inner.command_path, command, inner


def _described(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = ["```text", usage, "```", "", command.help or "", ""]
    rows = [row for each in command.get_params(context) if (row := _row(each, context))]
    if rows:
        lines += ["| option | what it says |", "|---|---|", *rows, ""]
    return lines


def _row(parameter: click.Parameter, context: click.Context) -> str | None:
    """Return an argument or option as a row of a table; None for --help."""
    if parameter.name == "help":
        return None
    record = parameter.get_help_record(context)
    name, text = record or (parameter.make_metavar(context), getattr(parameter, "help", ""))
    name, text = (each.replace("|", "\\|") for each in (name, text or ""))
    return f"| `{name}` | {text} |"
