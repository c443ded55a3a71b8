"""The command `janus-vit`: its subcommands, and the one place where an error becomes one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from janus_vit import __version__
from janus_vit.cli.bench import bench
from janus_vit.cli.calibrate import calibrate
from janus_vit.cli.cloud import cloud
from janus_vit.cli.demo import demo
from janus_vit.cli.device import device
from janus_vit.cli.export import export
from janus_vit.cli.models import models
from janus_vit.cli.plan import plan
from janus_vit.cli.profile import profile
from janus_vit.cli.report import report
from janus_vit.cli.simulated.compare import compare
from janus_vit.cli.simulated.fleet import fleet
from janus_vit.cli.token import token
from janus_vit.errors import CloudFailed, JanusError

# One function per command, in the order of --help.
COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    cloud,
    device,
    token,
    profile,
    calibrate,
    plan,
    compare,
    fleet,
    bench,
    report,
    export,
    models,
)

_EXIT_READER_GONE = 1
_EXIT_WRONG_INPUT = 2
_EXIT_FAILED = 3
_EXIT_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a disk that does not take what is printed

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def janus_vit(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Run a Vision Transformer within a latency budget, split between a device and a cloud over an unsteady network.

    \b
    See it on one machine:   janus-vit demo
    On the server:           janus-vit cloud --listen 0.0.0.0:50051 --allow-anonymous
    On the device:           janus-vit device --cloud HOST:50051 --sla 300ms
    Explain one decision:    janus-vit plan --bandwidth 20 --rtt 20ms --sla 300ms
    Help for a command:      janus-vit COMMAND --help
    """
    if version:
        typer.echo(f"janus-vit {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in COMMANDS:
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: arguments of the command; None reads the command line.

    Returns:
        The exit code: 0, 2 for an error that the user can fix, 3 if a cloud has failed and should be started again, 130
        after an interrupt, 1 if a pipe's reader has ended.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors are one line, without gRPC's own log
    try:
        code = app(arguments, prog_name="janus-vit", standalone_mode=False) or 0
        print(end="", flush=True)
    except CloudFailed as error:
        return _fail(str(error), _EXIT_FAILED)
    except JanusError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):  # depends on the version of typer; the newest returns 130 instead
        code = _EXIT_INTERRUPTED
    except OSError as error:
        _drop_output()
        if error.errno == errno.EPIPE:
            return _EXIT_READER_GONE
        if error.errno not in _FULL:
            raise
        what = error.filename or "output"
        return _fail(f"{what}: cannot be written ({error.strerror}): free disk space, or choose another place")
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors, whose class depends on its version
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "janus-vit")
        return _fail(f"{error.format_message().rstrip('.')}: see {command} --help")
    if code == _EXIT_INTERRUPTED:
        print("janus-vit: interrupted", file=sys.stderr)
    return int(code)


def _drop_output() -> None:
    """Forget what standard output does not take: Python would try it again at the end, and complain in its own way."""
    try:
        print(end="", flush=True)
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(message: str, code: int = _EXIT_WRONG_INPUT) -> int:
    """Print an error as one line. It may quote names from files, which must not control the terminal."""
    line = " ".join(message.split())
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    print("janus-vit: error:", shown, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
