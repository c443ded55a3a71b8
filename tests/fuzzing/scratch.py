"""A folder for the files of one run, removed at its end."""

import atexit
import shutil
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="janus-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
