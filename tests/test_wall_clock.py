"""A step of the machine's clock disturbs no frame: only dates that are shown, and those of certificates, read it."""

import re
from pathlib import Path

import janus_vit

READS_WALL_CLOCK = re.compile(r"\btime\.(time|time_ns|localtime|gmtime)\(|\.(now|today|utcnow)\((?!\))|CLOCK_REALTIME")
SHOWN = {"calibration/profiler.py", "tracing/opentelemetry.py"}
CERTIFICATES = {"cloud/access/certificates.py"}  # at the start and when they are renewed


def test_only_dates_that_are_shown_and_those_of_certificates_read_the_wall_clock():
    package = Path(janus_vit.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if READS_WALL_CLOCK.search(path.read_text("utf-8"))
    }
    assert found == SHOWN | CERTIFICATES
