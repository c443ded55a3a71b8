"""What processes do that `testbed/test_processes.py` starts, in a module that they import without torch."""

import os
import time

from janus_vit.errors import InputError
from janus_vit.testbed.child_process import serve_until_closed


def double(pipe):
    pipe.send(os.getpid())
    serve_until_closed(pipe, lambda value: 2 * value)


def fail(pipe):
    pipe.send(InputError(f"field {pipe.recv()} is missing"))


def die(pipe):
    os._exit(1)


def sleep_on(pipe):
    pipe.recv()
    time.sleep(600.0)
