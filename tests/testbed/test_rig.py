"""A deployment on one machine: what goes wrong in its cloud process is told in ours."""

import pytest

from janus_vit.errors import InputError
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.traces import Trace
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.testbed import rig
from janus_vit.testbed.network import EmulatedNetwork
from janus_vit.testbed.rig import Rig


def test_what_keeps_the_cloud_from_starting_is_told(model, make_profile):
    network = EmulatedNetwork(LinkSpec(Trace("constant", 1.0, [8.0])))
    with pytest.raises(InputError, match="model 'nothing' is unknown: use one of"):
        Rig(model, "nothing", make_profile(1e-5), network, 1.0, EagerEngine(model))


def test_the_cloud_process_loads_the_model_with_its_own_head(model, make_profile, monkeypatch):
    started = []
    monkeypatch.setattr(rig, "CloudProcess", started.append)
    network = EmulatedNetwork(LinkSpec(Trace("constant", 1.0, [8.0])))
    Rig(model, "small", make_profile(1e-5), network, 1.0, EagerEngine(model), "own.py:Head")
    assert (started[0].model, started[0].head) == ("small", "own.py:Head")
