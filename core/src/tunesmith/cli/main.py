"""argv → plugins → command. Importing a command is left to the moment it runs, so ``--help`` costs next to nothing."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from tunesmith import __version__
from tunesmith.errors import TunesmithError, nearest
from tunesmith.plugins import Plugins, switched_off

CONFIG_SUFFIXES = (".yaml", ".yml", ".json")
#: Where the words of the command line are kept: a configuration among them tells where to look for a local plugin.
WORDS = "tunesmith.words"
#: Faults of a place that the user can mend: no space, no permission.
MENDABLE = {
    errno.ENOSPC: "Make room, or write somewhere else.",
    errno.EDQUOT: "Make room, or write somewhere else.",
    errno.EROFS: "Write somewhere else.",
    errno.ENOTDIR: "A part of this path is a file; give another.",
    errno.EACCES: "Give a place that this user may read and write.",
    errno.EPERM: "Give a place that this user may read and write.",
}


class LazyGroup(click.Group):
    """A group whose commands come from the plugins' specs and are imported when they are called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_plugins(ctx).commands.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        plugins = _plugins(ctx)
        if cmd_name not in plugins.commands:
            _say_where_it_is(cmd_name, plugins)
        command = plugins.commands.get(cmd_name).load()
        if not isinstance(command, click.Command):
            raise TypeError(f"the command {cmd_name!r} is {command!r}, which is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for offer in _plugins(ctx).commands:
            sections.setdefault(offer.spec.section, []).append((offer.spec.name, offer.spec.summary))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _say_where_it_is(name: str, plugins: Plugins) -> None:
    """Raise for a command that a package brings which is not here, and for a file; other words are left to the registry."""
    if name.endswith(CONFIG_SUFFIXES):
        raise TunesmithError(f"{name} is no command.", f"Write tunesmith train {name}; tunesmith plan {name} looks first.")
    if package := plugins.catalogue.names("commands").get(name):
        raise TunesmithError(f"The command {name!r} is not installed.", f"It comes with {package}.")


def _plugins(ctx: click.Context) -> Plugins:
    plugins = ctx.find_root().obj
    if plugins is None:
        params = ctx.find_root().params
        plugins = ctx.find_root().obj = discover(params.get("without") or (), params.get("only") or (), ctx.meta[WORDS])
    assert isinstance(plugins, Plugins)
    return plugins


def discover(without: Sequence[str], only: Sequence[str], arguments: Sequence[str]) -> Plugins:
    """The plugins of one command line: names may be repeated or separated by commas."""
    off = [*switched_off(), *_names(without)]
    plugins = Plugins(without=off, only=_names(only) or None, local=config_folder(arguments))
    known = {*plugins.owners, *plugins.broken, *(owner.plugin for owner in plugins.off)}
    for name in (*_names(without), *_names(only)):
        if name not in known:
            raise TunesmithError(
                f"command line: there is no plugin {name!r} to switch on or off.",
                nearest(name, known) or f"Installed: {', '.join(sorted(known))}.",
            )
    return plugins


def _names(values: Sequence[str]) -> list[str]:
    return [name for value in values for name in value.replace(",", " ").split()]


def config_folder(arguments: Sequence[str]) -> Path | None:
    """The folder of the configuration file on the command line: the only place a local plugin is looked for."""
    files = (Path(word) for word in arguments if word.endswith(CONFIG_SUFFIXES) and "=" not in word)
    return next((file.parent for file in files if file.is_file()), None)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--without", multiple=True, metavar="PLUGIN", help="Do not load this plugin. May be repeated.")
@click.option("--only", multiple=True, metavar="PLUGIN", help="Load no plugins but these and the host's own.")
@click.version_option(__version__, prog_name="tunesmith")
@click.pass_context
def cli(ctx: click.Context, without: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Fine-tune, serve and export large language models.

    \b
    tunesmith plan run.yaml       what a run would do, and everything wrong with it
    tunesmith train run.yaml      do it; key=value and --key value override the file
    tunesmith explain lora_rank   what a key means
    """
    _plugins(ctx)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status: 0, 1 for our defects, 2 for the user's mistakes."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    return guarded(lambda: cli.main(arguments, prog_name="tunesmith", standalone_mode=False))


def guarded(work: Callable[[], object]) -> int:
    """Do ``work``, and turn what the user can mend into a message and an exit status."""
    try:
        result = work()
    except TunesmithError as error:
        show_error(error)
        return 2
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        show_error(TunesmithError(": ".join(filter(None, (error.strerror, error.filename))), MENDABLE[error.errno]))
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        show_error(TunesmithError(error.format_message(), _way_out(error)))
        return error.exit_code
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130
    return result if isinstance(result, int) else 0


def _way_out(error: click.ClickException) -> str:
    """What to write in place of what click did not understand."""
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    if isinstance(error, click.exceptions.NoSuchCommand) and error.command_name.endswith(CONFIG_SUFFIXES):
        ways = (f"{context.command_path} {name}" for name in context.command.list_commands(context))
        return f"Name what to do with it: {', '.join(ways)}."
    return f"{context.command_path} --help shows what there is."


def show_error(error: TunesmithError) -> None:
    """What is wrong, and what to write instead, on standard error."""
    click.secho(f"error: {error.message}", fg="red", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
