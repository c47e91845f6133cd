"""How commands fail and end, and what they load: errors, Ctrl-C, extras, models."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from unet_edge.errors import BackendError, UnetEdgeError
from unet_edge.system.captured_output import captured_output
from unet_edge.system.os_errors import os_error_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter


Opening = tuple[str | None, int | None, "Package | None"]
"""What `--file`, `--threads` and `--backend` say."""


class Failure(click.ClickException):
    """A command that ran and has a bad result to report; exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the message as it is, without click's "Error:"."""
        click.echo(self.message, err=True)


class Interrupted(click.ClickException):
    """Ctrl-C, with the customary exit status."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted; what was finished is kept")

    def show(self, file: Any = None) -> None:
        """Print the message on a line of its own, below the ^C."""
        click.echo(f"\n{self.message}", err=True)


class Listed(NamedTuple):
    """A command that is not loaded yet: the module that holds it, and its line in --help."""

    module: str
    line: str


class Group(click.Group):
    """Turns our errors into one line and Ctrl-C into the customary exit status.

    `sections` holds the commands by title and name. A command's module is imported when the
    command is used: on a Raspberry Pi, `segment` should not wait for what `train` needs, nor
    should --help or the completion of a name wait for all of them.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Mapping[str, Listed]], **settings: Any
    ) -> None:
        """As click.Group."""
        super().__init__(*args, **settings)
        self._sections = sections
        self._listed = {name: one for section in sections.values() for name, one in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in the order of --help."""
        return list(self._listed)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give a command; None for a name that is none."""
        if cmd_name not in self._listed:
            return None
        module = importlib.import_module(self._listed[cmd_name].module)
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, each with its whole line."""
        widest = max(map(len, self._listed))  # so that the lines of all sections begin in a column
        for title, section in self._sections.items():
            rows = [(name.ljust(widest), one.line) for name, one in section.items()]
            with formatter.section(title):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command or an option."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=one.line)
            for name, one in self._listed.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a traceback is for our mistakes, never for the user's."""
        try:
            return super().invoke(ctx)
        except UnetEdgeError as error:
            raise Failure(f"error: {error}") from error  # its text is printable
        except BrokenPipeError:
            raise  # as in `| head`: click ends quietly
        except OSError as error:
            raise Failure(f"error: {os_error_line(error)}") from error
        except MemoryError:
            raise Failure("error: there is not enough free memory for this") from None
        except KeyboardInterrupt:
            raise Interrupted from None


def need(extra: str, modules: Sequence[str]) -> None:
    """Import the modules of an extra; raises BackendError with the fixing command.

    Imported, not looked for: Keras without the library it runs on is there and does not work.
    """
    for module in modules:
        try:
            with captured_output():
                importlib.import_module(module)
        except ImportError as error:
            fix = f"pip install 'unet-edge[{extra}]' (in a checkout: pip install '.[{extra}]')"
            if (chosen := os.environ.get("KERAS_BACKEND")) and chosen != "tensorflow":
                fix = f"install {chosen}, which KERAS_BACKEND names, or unset KERAS_BACKEND"
            raise BackendError(
                f"this needs {module}, which cannot be imported ({error})",
                fix=f"fix with: {fix}",
            ) from error


def open_model(
    path: Path,
    file: str | None = None,
    threads: int | None = None,
    backend: Package | None = None,
) -> Segmenter:
    """Open a bundle, file or run for a command."""
    from unet_edge.cli.crash_watchdog import vigil
    from unet_edge.runtime.segmenter import Segmenter

    # The doctor has nothing to say of Keras.
    watch = vigil(path) if is_exported(path) else contextlib.nullcontext()
    with watch, captured_output():  # interpreters announce their delegates on standard error
        return Segmenter.open(path, file=file, threads=threads, backend=backend)


def open_workers(path: Path, how: Opening, first: Segmenter, pictures: int) -> list[Segmenter]:
    """What works on `pictures` at once: interpreters that share out all threads, or `first` alone.

    `first` is what `open_model` gave; one picture is its own, with the threads that were tuned. For
    more, the threads are --threads or all: `unet-edge tune` looks for the fastest single picture.
    """
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.runtime.threads import thread_count

    file, threads, backend = how
    count = thread_count(threads)
    workers = min(count, pictures)
    if workers == 1 or not is_exported(path):  # Keras keeps every processor busy by itself
        return [first]
    with captured_output():
        return [
            Segmenter.open(path, file=file, threads=count // workers, backend=backend)
            for _ in range(workers)
        ]


def is_exported(path: Path) -> bool:
    """Whether it is a bundle or a file of one, and no training run."""
    from unet_edge.bundle.manifest import MANIFEST

    return path.suffix in (".tflite", ".onnx") or (path / MANIFEST).exists()
