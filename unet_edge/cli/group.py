"""The group of commands: late imports, errors, Ctrl-C, and how commands open a model."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
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


class Failure(click.ClickException):
    """The end of a command with a bad result; exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the message as it is, without click's "Error:"."""
        click.echo(self.message, err=True)


class Interrupted(click.ClickException):
    """The end of a command after Ctrl-C, with the usual exit status."""

    exit_code = 130

    def __init__(self, outcome: str = "what was finished is kept") -> None:
        super().__init__(f"interrupted; {outcome}")

    def show(self, file: Any = None) -> None:
        """Print the message on its own line, below the ^C."""
        click.echo(f"\n{self.message}", err=True)


@contextlib.contextmanager
def interrupted_without_output() -> Iterator[None]:
    """After Ctrl-C, say that nothing was written: for commands that write in one step."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("nothing was written") from None


class LazyCommand(NamedTuple):
    """A command that is not imported yet: its module, and its line in the list of commands.

    `function` is its name in the module, if that is not the command's.
    """

    module: str
    summary: str
    function: str = ""

    def load(self, name: str) -> click.Command:
        """Import and return the command called `name`."""
        module = importlib.import_module(self.module)
        command: click.Command = getattr(module, self.function or name)
        return command


class ModelOptions(NamedTuple):
    """The values of `--file`, `--threads` and `--backend`; None if not given."""

    file: str | None = None
    threads: int | None = None
    backend: Package | None = None


class Group(click.Group):
    """A group that imports each command when it is used, and prints each error as one line.

    `sections` holds the commands by title and name. An interrupted command exits with the usual
    status.
    """

    # On a Raspberry Pi imports take long: `segment` must not wait for what `train` needs, nor
    # --help and the completion of a name for every command.

    def __init__(
        self, *args: Any, sections: Mapping[str, Mapping[str, LazyCommand]], **settings: Any
    ) -> None:
        """Take the arguments of click.Group, and the sections."""
        super().__init__(*args, **settings)
        self._sections = sections
        self._lazy = {
            name: command for section in sections.values() for name, command in section.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of --help."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in self._lazy:
            return None
        return self._lazy[cmd_name].load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, each with its summary in full."""
        widest = max(map(len, self._lazy))  # aligns the summaries of all sections
        for title, section in self._sections.items():
            rows = [(name.ljust(widest), command.summary) for name, command in section.items()]
            with formatter.section(title):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command or an option."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=command.summary)
            for name, command in self._lazy.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn each expected error into one line."""
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
    """Import the modules of an extra. Raises BackendError with the command that installs it."""
    # Finding a module is not enough: Keras without its backend library is found and cannot run.
    for module in modules:
        try:
            with captured_output():
                importlib.import_module(module)
        except ImportError as error:
            fix = f"run: pip install 'unet-edge[{extra}]' (in a checkout: pip install '.[{extra}]')"
            if (chosen := os.environ.get("KERAS_BACKEND")) and chosen != "tensorflow":
                fix = f"install {chosen}, which KERAS_BACKEND names, or unset KERAS_BACKEND"
            raise BackendError(
                f"the command needs {module}, which cannot be imported ({error})",
                fix=fix,
            ) from error


def open_model(
    path: Path,
    file: str | None = None,
    threads: int | None = None,
    backend: Package | None = None,
) -> Segmenter:
    """Open a bundle, a file or a run."""
    from unet_edge.cli.crash_watchdog import crash_watchdog
    from unet_edge.runtime.segmenter import Segmenter

    # The doctor does not check Keras.
    watchdog = crash_watchdog(path) if is_exported(path) else contextlib.nullcontext()
    with watchdog, captured_output():  # interpreters announce their delegates on standard error
        return Segmenter.open(path, file=file, threads=threads, backend=backend)


def open_workers(
    path: Path, options: ModelOptions, first: Segmenter, pictures: int
) -> list[Segmenter]:
    """Open the segmenters that work on `pictures` at once, each with its share of the threads.

    `first` is what `open_model` returned. It works alone on a single picture, or if it is Keras.
    """
    # The tuned number of threads is the fastest for a single picture. Several pictures share
    # --threads, or all threads.
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.runtime.threads import thread_count

    count = thread_count(options.threads)
    workers = min(count, pictures)
    if workers == 1 or not is_exported(path):  # Keras keeps every processor busy by itself
        return [first]
    with captured_output():
        return [
            Segmenter.open(
                path, file=options.file, threads=count // workers, backend=options.backend
            )
            for _ in range(workers)
        ]


def is_exported(path: Path) -> bool:
    """Whether `path` is a bundle or a model file, and not a training run."""
    from unet_edge.bundle.manifest import MANIFEST

    return path.suffix in (".tflite", ".onnx") or (path / MANIFEST).exists()
