"""Settings of a device: every mistake is named, and nothing is swallowed."""

import dataclasses

import pytest

from janus_vit.errors import InputError
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import connect


def test_option_that_does_not_exist_is_named_with_the_known_ones(model, make_profile):
    with pytest.raises(InputError, match=r"option 'slo_s' is unknown: use one of sla_s, policy"):
        connect(model, "127.0.0.1:9", make_profile(1e-5, model="small"), slo_s=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sla_s": 0.0}, "the SLA is 0.0 s"),
        ({"policy": "best"}, "policy 'best' is unknown"),
        ({"hello_timeout_s": 0.0}, "hello_timeout_s is 0.0: give a positive number of seconds"),
        ({"probe_timeout_s": float("inf")}, "probe_timeout_s is inf"),
        ({"first_probe_timeout_s": float("nan")}, "first_probe_timeout_s is nan"),
        ({"first_probes_bytes": ()}, r"first_probes_bytes is \(\)"),
        ({"first_probes_bytes": (1000, 0)}, r"first_probes_bytes is \(1000, 0\)"),
    ],
)
def test_value_that_cannot_be_used_is_named(options, message):
    with pytest.raises(InputError, match=message):
        DeviceConfig(**options)
    with pytest.raises(InputError, match=message):
        DeviceConfig().with_options(options)


def test_options_replace_only_their_own_fields():
    config = DeviceConfig(sla_s=0.1, policy="janus")
    assert config.with_options({"sla_s": 0.2}) == DeviceConfig(sla_s=0.2, policy="janus")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.sla_s = 1.0


def test_device_has_a_name_of_at_most_64_characters():
    assert DeviceConfig(name="kitchen").device_name == "kitchen"
    assert len(DeviceConfig(name="x" * 99).device_name) == 64
    assert 0 < len(DeviceConfig().device_name) <= 64
