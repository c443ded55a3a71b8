"""How long tests wait for what must come: a busy machine is slow, so these limits matter only where something hangs."""

import time

PATIENCE_S = 45.0  # of a call; a request that may wait for more than a minute is refused
START_S = 180.0  # of a process to start or to end


def wait_until(is_true, pause_s=0.01):
    """Ask again and again until it is true."""
    until_s = time.monotonic() + START_S
    while not is_true():
        assert time.monotonic() < until_s, "this never came"
        time.sleep(pause_s)
