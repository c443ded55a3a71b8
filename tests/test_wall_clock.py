"""A step of the machine's clock cannot disturb anything: only dates that are shown read it."""

import re
from pathlib import Path

import janus_vit

READS_WALL_CLOCK = re.compile(r"\btime\.(time|time_ns|localtime|gmtime)\(|\.(now|today|utcnow)\((?!\))|CLOCK_REALTIME")
ALLOWED = {"calibration/profiler.py", "live_page/broadcast.py", "tracing/opentelemetry.py"}


def test_only_what_shows_a_date_reads_the_wall_clock():
    package = Path(janus_vit.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if READS_WALL_CLOCK.search(path.read_text("utf-8"))
    }
    assert found == ALLOWED
