"""The public interface: every name imports, says what it is, and brings in no more than it needs."""

import inspect
import subprocess
import sys

import pytest

import janus_vit
from janus_vit import errors

NAMES = [name for name in janus_vit.__all__ if name != "__version__"]
HEAVY = "torch", "grpc", "PIL", "safetensors", "typer", "rich"


@pytest.mark.parametrize("name", NAMES)
def test_public_name_imports_and_has_a_docstring(name):
    found = getattr(janus_vit, name)
    # A dataclass without a docstring gets its signature as one.
    assert inspect.getdoc(found)
    assert not found.__doc__.startswith(f"{name}(")
    assert found.__module__.startswith("janus_vit.")
    assert name in dir(janus_vit)


def test_every_error_of_the_package_is_public():
    own = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert set(own) <= set(NAMES)
    assert all(issubclass(getattr(errors, name), errors.JanusError) for name in own)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Clowd'"):
        _ = janus_vit.Clowd


@pytest.mark.parametrize(
    "statement",
    [
        "import janus_vit",
        "import janus_vit.runtime.device, janus_vit.runtime.pacing",
        "from janus_vit import Device, DeviceConfig, Outcome, Policy, make_policy, predict, load_profile, InputError",
    ],
)
def test_device_loop_imports_neither_torch_nor_grpc(statement):
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
