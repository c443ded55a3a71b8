"""Tokens: a file of hashes that may change, headers that are right and wrong, and files that cannot be used."""

import os

import pytest

from janus_vit.cloud.access.tokens import Tokens, hash_line, new_token
from janus_vit.cloud.access.watched import WatchedFiles
from janus_vit.errors import InputError


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_token_identifies_its_device(tmp_path):
    one, other, old = new_token(), new_token(), new_token()
    lines = ["# the fleet", "", hash_line("robot-1", one), hash_line("robot-2", other), hash_line("robot-2", old)]
    tokens = Tokens(write(tmp_path / "tokens.txt", *lines))
    assert tokens.identify(f"Bearer {one}") == "robot-1"
    assert tokens.identify(f"bearer {other}") == tokens.identify(f"Bearer {old}") == "robot-2"


def test_a_file_may_begin_with_a_byte_order_mark_and_have_line_ends_of_windows(tmp_path):
    token, path = new_token(), tmp_path / "tokens.txt"
    path.write_bytes(f"\ufeff{hash_line('robot-1', token)}\r\n".encode())
    assert Tokens(path).identify(f"Bearer {token}") == "robot-1"


def test_any_other_header_identifies_nobody(tmp_path):
    token = new_token()
    tokens = Tokens(write(tmp_path / "tokens.txt", hash_line("robot-1", token)))
    digest = hash_line("robot-1", token).partition(":")[2]
    wrong = [None, "", "Bearer", "Bearer ", token, f"Basic {token}", f"Bearer {token}x", f"Bearer {digest}"]
    assert {tokens.identify(header) for header in [*wrong, f"Bearer {new_token()}", "Bearer \udcff"]} == {None}


def test_tokens_are_long_and_never_the_same():
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) == 43  # 256 bits


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "näme", "a\nb", "a:b"])
def test_a_device_name_is_plain(name):
    with pytest.raises(InputError, match="such as robot-7"):
        hash_line(name, new_token())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no token"),
        ("# none\n", "has no token"),
        ("robot-1 secret\n", "line 1 is not NAME sha256:HEX"),
        (f"\nrobot 1 sha256:{'0' * 64}\n", "line 2"),
        (f"robot-1 sha256:{'0' * 63}\n", "line 1"),
        (f"robot-1 sha256:{'0' * 64}\nrobot-2 sha256:{'0' * 64}\n", "line 2 has the token of another device"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, text, says):
    path = tmp_path / "tokens.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        Tokens(path)
    with pytest.raises(InputError, match="cannot be read"):
        Tokens(tmp_path / "none.txt")


def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path, caplog):
    path, clock, reads = write(tmp_path / "file", "first"), [0.0], []

    def read():
        text = path.read_text().strip()
        reads.append(text)
        if text == "broken":
            raise InputError("file: is broken")
        return text

    watched = WatchedFiles([path], read, now=lambda: clock[0])

    def value_after(text):
        write(path, text)
        os.utime(path, ns=(len(reads), len(reads)))  # a file system may have a coarse clock
        clock[0] += 1.0
        return watched.value()

    assert watched.value() == watched.value() == "first"
    assert value_after("second") == "second"
    assert value_after("broken") == "second"
    assert "file: is broken; what was read before stays in force" in caplog.text
    assert value_after("third") == "third"
    assert reads == ["first", "second", "broken", "third"]


def test_a_revoked_token_is_refused_while_the_cloud_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("janus_vit.cloud.access.watched._EVERY_S", 0.0)
    kept, revoked = new_token(), new_token()
    path = write(tmp_path / "tokens.txt", hash_line("robot-1", kept), hash_line("robot-2", revoked))
    tokens = Tokens(path)
    assert tokens.identify(f"Bearer {revoked}") == "robot-2"
    write(path, hash_line("robot-1", kept))
    assert tokens.identify(f"Bearer {revoked}") is None
    assert tokens.identify(f"Bearer {kept}") == "robot-1"
