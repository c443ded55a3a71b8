"""Pickles in files of PyTorch: those of weights are read, those that waste memory or time are refused at once."""

import io
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.weights import read_weights

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch's old format
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def twice_of_twice(levels):
    """A tuple that holds a tuple twice, which holds a tuple twice, and so on."""
    return b")" + b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(levels))


BYTEARRAY = named("builtins", "bytearray")
ZEROS = call(BYTEARRAY, number(10**10))
HOSTILE = {
    "gigabytes": ZEROS,
    "counted": call(named("collections", "Counter"), ZEROS),
    "in a set": call(named("builtins", "set"), ZEROS),
    "a tensor of any size": call(named("torch", "FloatTensor"), number(10**10)),
    "a tensor without values": b"}" + text("x") + call(named("torch", "Tensor"), number(10**9)) + b"s",
    "a text that doubles": call(named("_codecs", "encode"), text("ab"), text("hex_codec")),
    "code": call(named("os", "system"), text("true")),
    "code by another name": text("os") + text("system") + b"\x93" + text("true") + b"\x85R",
    "hash of nested tuples": b"}" + twice_of_twice(60) + b"K\x01s",
    "set of nested tuples": call(named("builtins", "set"), b"]" + twice_of_twice(60) + b"a"),
    "a list that is read often": b"]q\xff(" + b"N" * 2_000 + b"e" + b"".join(
        call(named("builtins", "set"), b"h\xff") + b"0" for _ in range(600)
    ),
    "a list that grows while it is read": b"]q\xff" + b"".join(
        b"(" + b"N" * 50 + b"e" + call(named("builtins", "set"), b"h\xff") + b"0" for _ in range(400)
    ),
}  # fmt: skip
DAMAGED = {
    "nothing to take": b"R",
    "no mark": b"t",
    "mark below": b"((0tR",
    "unknown memory": b"h\x07",
    "unknown operation": b"\xff",
    "cut off": b"X\xff\xff\xff\xff",
}


def as_archive(path, body):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/version", "3\n")


def as_old_file(path, body):
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, SYSTEM))
    path.write_bytes(head + b"\x80\x02" + body + b"." + pickle.dumps([], 2))


@pytest.mark.parametrize("write", [as_archive, as_old_file])
@pytest.mark.parametrize("what", [*HOSTILE, *DAMAGED])
def test_a_pickle_that_is_none_of_weights_is_refused_at_once(tmp_path, what, write):
    path = tmp_path / "model.pt"
    write(path, {**HOSTILE, **DAMAGED}[what])
    began_s = time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"model\.pt: (holds more|its pickle repeats|not a readable PyTorch)"):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert time.thread_time() - began_s < 2


def test_a_pickle_of_too_many_values_is_refused(tmp_path, monkeypatch):
    as_archive(tmp_path / "model.pt", b"](" + b"N" * 1_000 + b"e")
    with pytest.raises(InputError, match="holds no state_dict"):
        read_weights(tmp_path / "model.pt")
    monkeypatch.setattr("janus_vit.model.checkpoints.pickles._MOST_WORK", 1_000)
    with pytest.raises(InputError, match="its pickle repeats values too often"):
        read_weights(tmp_path / "model.pt")


TYPES = [(dtype, as_zip) for dtype in (torch.float32, torch.bfloat16, torch.int64) for as_zip in (True, False)]


@pytest.mark.parametrize(("dtype", "as_zip"), [*TYPES, (torch.float16, True), (torch.float8_e4m3fn, True)])
def test_weights_of_every_type_are_read_as_torch_saved_them(tmp_path, dtype, as_zip):
    wanted = torch.arange(12).reshape(3, 4).to(dtype)
    saved = {"weight": torch.nn.Parameter(wanted, requires_grad=False), "view": wanted[:, 1:], "step": torch.tensor(3)}
    torch.save(OrderedDict(saved), tmp_path / "model.pt", _use_new_zipfile_serialization=as_zip)
    found = read_weights(tmp_path / "model.pt").tensors
    assert found["weight"].dtype is dtype
    assert torch.equal(found["weight"].float(), wanted.float())
    assert torch.equal(found["view"].float(), wanted[:, 1:].float())


def test_the_state_of_a_training_is_read_with_its_optimiser_and_schedule(tmp_path):
    network = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(100)))
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 4)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [10, 20, 20])
    state = {
        "state_dict": network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(),
        "epoch": 3,
        "best": {"top1": 81.5, "size": torch.Size([224, 224]), "seen": {"a", "b"}, "counts": Counter("aab")},
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
    }
    torch.save(state, tmp_path / "model.ckpt")
    assert read_weights(tmp_path / "model.ckpt").tensors.keys() == network.state_dict().keys()


def test_all_pickles_of_an_archive_are_checked(tmp_path):
    file = io.BytesIO()
    torch.save({"x": torch.zeros(2)}, file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/DATA.PKL", b"\x80\x02" + ZEROS + b".")
    (tmp_path / "model.pt").write_bytes(file.getvalue())
    with pytest.raises(InputError, match="holds more than weights"):
        read_weights(tmp_path / "model.pt")
