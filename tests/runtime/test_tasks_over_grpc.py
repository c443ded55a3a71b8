"""Answers of every task pass the device's checks of replies, over a real server on loopback."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import small_model
from patience import PATIENCE_S

from janus_vit.cloud.server import Cloud
from janus_vit.runtime.connect import connect


def model_of(task, outputs, shift):
    """A model whose outputs are moved up or down together, so that the sigmoids of labels add up to far more than 1."""
    model = small_model(classes=outputs)
    model.network.head.bias += shift
    return replace(model, task=task)


@pytest.mark.parametrize(
    ("task", "outputs", "shift"),
    [
        ("multilabel", 7, 6.0),
        ("multilabel", 7, -30.0),
        ("multilabel", 120, 0.0),
        ("multilabel", 1, 2.0),
        ("regress", 1, -250.0),
        ("regress", 3, 1e5),
        ("classify", 7, 0.0),
        ("classify", 2, 0.0),
    ],
)
def test_device_takes_the_answer_of_the_cloud(task, outputs, shift, make_profile, frames):
    model, profile = model_of(task, outputs, shift), make_profile(1e-5, model="small")
    with Cloud(model, profile, engine="eager") as cloud:
        address = f"127.0.0.1:{cloud.port}"
        with (
            connect(model, address, profile, sla_s=PATIENCE_S, policy="cloud-only") as device,
            connect(model, address, profile, sla_s=PATIENCE_S, policy="device-only") as alone,
        ):
            there, here = device.infer(frames[0]), alone.infer(frames[0])
    assert there.fallback is None
    assert there.answer.classes == here.answer.classes
    np.testing.assert_allclose(there.answer.probabilities, here.answer.probabilities, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(there.answer.vector, here.answer.vector, rtol=1e-4)
    assert len(there.answer.vector) == (outputs if task == "regress" else 0)
    if shift > 0 and task == "multilabel":
        assert sum(there.answer.probabilities) > 0.8 * outputs
