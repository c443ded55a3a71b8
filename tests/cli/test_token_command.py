"""`janus-vit token` adds a line that the cloud can read, and leaves nothing behind when a file cannot be written."""

import sys

import pytest
from full_disks import full_disk

from janus_vit.cli.common.security import device_token
from janus_vit.cli.main import main
from janus_vit.cloud.access.tokens import Tokens, hash_line, new_token
from janus_vit.errors import InputError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_token_is_added_to_a_file_whose_last_line_may_lack_its_end(tmp_path, end):
    old = new_token()
    (tmp_path / "tokens.txt").write_text(hash_line("robot-1", old) + end)
    assert main(["token", "robot-7", "--tokens", "tokens.txt", "--out", "robot-7.token"]) == 0
    tokens = Tokens(tmp_path / "tokens.txt")
    assert tokens.identify(f"Bearer {old}") == "robot-1"
    assert tokens.identify(f"Bearer {(tmp_path / 'robot-7.token').read_text().strip()}") == "robot-7"
    assert len((tmp_path / "tokens.txt").read_text().splitlines()) == 2


def test_new_files_are_for_their_owner_alone(tmp_path):
    assert main(["token", "robot-7", "--tokens", "tokens.txt", "--out", "robot-7.token"]) == 0
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "tokens.txt": 0o600,
        "robot-7.token": 0o600,
    }


@pytest.mark.parametrize("tokens", ["no/tokens.txt", "file/tokens.txt", "."])
def test_no_token_stays_that_no_cloud_knows(tmp_path, capsys, tokens):
    (tmp_path / "file").touch()
    assert main(["token", "robot-7", "--tokens", tokens, "--out", "robot-7.token"]) == 2
    assert f"error: {tokens}: cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_half_line_stays_on_a_full_disk(tmp_path, capsys):
    before = hash_line("robot-1", new_token()) + "\n"
    (tmp_path / "tokens.txt").write_text(before)
    with full_disk(len(before) + 20):  # room for a part of a line
        assert main(["token", "robot-7", "--tokens", "tokens.txt", "--out", "robot-7.token"]) == 2
    assert "tokens.txt: cannot be written whole: free disk space" in capsys.readouterr().err
    assert (tmp_path / "tokens.txt").read_text() == before
    assert not (tmp_path / "robot-7.token").exists()


@pytest.mark.parametrize("options", [["--tokens", "tokens.txt"], ["--out", "robot-7.token"]])
def test_nothing_stays_if_the_rest_cannot_be_printed(tmp_path, monkeypatch, options):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["token", "robot-7", *options]) == 2
    assert list(tmp_path.iterdir()) == []


def test_no_token_is_shown_that_no_cloud_knows(capsys):
    assert main(["token", "robot-7", "--tokens", "no/tokens.txt"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", ["secret", "secret\n", " secret "])
def test_a_token_in_the_environment_may_end_with_a_line_break(monkeypatch, value):
    monkeypatch.setenv("JANUS_VIT_TOKEN", value)
    assert device_token(None) == "secret"


NO_TOKENS = ["a b", "a\nb", "caf\u00e9", "a\x01", "a\x7f", "x" * 191]


@pytest.mark.parametrize("value", [*NO_TOKENS, "\udcff", "\ufeffsecret"])
def test_what_cannot_be_a_token_is_refused_with_the_name_of_the_variable(monkeypatch, value):
    """gRPC would refuse each call with it, and the device would look as if no cloud were there."""
    monkeypatch.setenv("JANUS_VIT_TOKEN", value)
    with pytest.raises(InputError, match="environment variable JANUS_VIT_TOKEN: is no token: set it to what"):
        device_token(None)


@pytest.mark.parametrize("content", [*(text.encode() for text in NO_TOKENS), b"a\0", b"a\xe9", "a".encode("utf-16")])
def test_a_file_that_holds_no_token_is_refused_by_name(tmp_path, content):
    (tmp_path / "device.token").write_bytes(content)
    with pytest.raises(InputError, match=r"device\.token: must hold one token alone"):
        device_token(tmp_path / "device.token")


def test_the_mark_that_editors_write_before_a_token_is_not_part_of_it(tmp_path):
    (tmp_path / "device.token").write_bytes(b"\xef\xbb\xbfsecret\r\n")
    assert device_token(tmp_path / "device.token") == "secret"


def test_an_existing_token_is_kept(tmp_path, capsys):
    (tmp_path / "robot-7.token").write_text("the token of another day\n")
    assert main(["token", "robot-7", "--tokens", "tokens.txt", "--out", "robot-7.token"]) == 2
    assert "robot-7.token: cannot be written (File exists): choose the path of a new file" in capsys.readouterr().err
    assert (tmp_path / "robot-7.token").read_text() == "the token of another day\n"
    assert not (tmp_path / "tokens.txt").exists()
