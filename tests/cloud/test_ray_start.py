"""Ray that does not start at once. Its own processes are not started here; `test_ray_serve.py` starts them."""

import importlib
import warnings
from types import SimpleNamespace

import pytest

from janus_vit.errors import Unreachable

SLOW = "The current node timed out during startup. This could happen because the GCS has become overloaded."


@pytest.fixture(scope="module")
def local():
    """The module, whose import of Ray warns of what Ray uses itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("janus_vit.cloud.ray.local")


@pytest.fixture
def ray_that_fails(monkeypatch, local):
    """Let Ray fail so many times to start; returns what was ended, in order."""

    def failing(times):
        starts, ends = iter([Exception(SLOW)] * times), []

        def start(**options):
            if (error := next(starts, None)) is not None:
                raise error

        monkeypatch.setattr(local, "os", SimpleNamespace(environ={}))
        monkeypatch.setattr(local, "ray", SimpleNamespace(init=start, shutdown=lambda: ends.append("Ray")))
        serve = SimpleNamespace(start=lambda **options: None, delete=lambda name: ends.append("the application"))
        monkeypatch.setattr(local, "serve", serve)
        return ends

    return failing


def test_ray_is_started_again_if_its_first_process_took_too_long(local, ray_that_fails):
    ends = ray_that_fails(times=2)
    with local.local_ray(port=1, largest_message_bytes=1_000, cpus=1):
        assert ends == ["Ray", "Ray"]
    assert ends[2:] == ["the application", "Ray"]


def test_ray_that_does_not_start_is_one_sentence(local, ray_that_fails):
    ray_that_fails(times=3)
    with (
        pytest.raises(Unreachable, match=rf"^Ray cannot start \({SLOW}\): stop other programs and try again$"),
        local.local_ray(port=1, largest_message_bytes=1_000, cpus=1),
    ):
        pass
