"""The arguments of the application on Ray Serve, and how many replicas they mean."""

import os

import pytest

from janus_vit.cloud.ray.scale import Scale
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.errors import InputError


def test_arguments_of_a_command_line_are_texts_and_those_of_a_file_are_not():
    typed = {"profile": "cloud.json", "engine": "eager", "threads": 4, "max_batch": 8, "replicas": 2, "task": None}
    texts = {"profile": "cloud.json", "engine": "eager", "threads": "4", "max_batch": "8", "replicas": "2"}
    expected = RaySettings("cloud.json", engine="eager", threads=4, max_batch=8, replicas="2")
    assert RaySettings.parse(typed) == RaySettings.parse(texts) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "argument profile is missing: measure a profile with 'janus-vit profile"),
        ({"profile": None}, "argument profile is missing"),
        ({"profil": "cloud.json"}, "argument 'profil' is unknown: use one of profile, model, task"),
        ({"profile": "cloud.json", "engine": "warp"}, "engine 'warp' is unknown: use one of auto"),
        ({"profile": "cloud.json", "threads": "0"}, "argument threads is '0' and must be a whole number, at least 1"),
        ({"profile": "cloud.json", "threads": 2.5}, "argument threads is 2.5 and must be a whole number"),
        ({"profile": "cloud.json", "image_size": "big"}, "image size 'big' cannot be used"),
        *(
            ({"profile": "cloud.json", "replicas": text}, f"replicas {text!r} is neither a number nor a range")
            for text in ("0", "4-2", "many", "1-", "-2", "1-2-3")
        ),
    ],
)
def test_a_wrong_argument_is_named(arguments, says):
    with pytest.raises(InputError, match=says):
        RaySettings.parse(arguments)


@pytest.mark.parametrize(
    ("replicas", "gpus", "expected"),
    [
        (None, 4, Scale(1, 4, ongoing=16.0, cpus=1, gpus=1)),
        ("2", 4, Scale(2, 2, ongoing=16.0, cpus=1, gpus=1)),
        ("2-3", 1, Scale(2, 3, ongoing=16.0, cpus=1, gpus=1)),
        ("1-2", 0, Scale(1, 2, ongoing=2.0, cpus=4, gpus=0)),
        (None, 0, Scale(1, 1, ongoing=2.0, cpus=8, gpus=0)),
    ],
)
def test_one_replica_a_gpu_or_shares_of_the_cores(monkeypatch, replicas, gpus, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Scale.of(RaySettings("cloud.json", replicas=replicas), gpus) == expected


def test_threads_are_the_cores_of_a_replica():
    assert Scale.of(RaySettings("cloud.json", threads=3), gpus=0).cpus == 3


@pytest.mark.parametrize(
    ("fewest", "most", "text"), [(1, 1, "1 replica"), (2, 2, "2 replicas"), (1, 4, "1 to 4 replicas")]
)
def test_a_scale_in_words(fewest, most, text):
    assert str(Scale(fewest, most, ongoing=2.0, cpus=1, gpus=0)) == text
