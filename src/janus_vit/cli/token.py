"""`janus-vit token`: make a token for a device, and the line that admits it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from janus_vit.cli.common.console import messages, say
from janus_vit.errors import InputError


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the device, such as robot-7.")],
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", metavar="FILE", help="Append the hash to this file, which 'cloud --tokens' reads."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the token to this new file, which only you may read."),
    ] = None,
) -> None:
    """Make a token for a device. The cloud stores only its hash; nobody can see the token again.

    Delete the line of the hash to revoke the token; a running cloud follows within seconds.

    \b
    Example:        janus-vit token robot-7 --tokens tokens.txt --out robot-7.token
    On the cloud:   janus-vit cloud --listen 0.0.0.0:50051 --cert cert.pem --key key.pem --tokens tokens.txt
    On the device:  janus-vit device --cloud HOST:50051 --ca ca.pem --token-file robot-7.token
    """
    from janus_vit.cloud.access.tokens import hash_line, new_token

    secret = new_token()
    line = hash_line(name, secret)
    if out is not None:
        _write(out, secret, os.O_CREAT | os.O_EXCL, "choose the path of a new file")
    if tokens is not None:
        _write(tokens, line, os.O_CREAT | os.O_APPEND, "check the path")
    if out is None:
        say(messages(), "the token, for the device alone:")
        print(secret, flush=True)
    if tokens is None:
        say(messages(), "its hash, for the file of 'cloud --tokens':")
        print(line, flush=True)


def _write(path: Path, line: str, how: int, remedy: str) -> None:
    """Write a line to a file that, if it is new, only its owner can read.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | how, 0o600), "w", encoding="ascii") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): {remedy}") from error
