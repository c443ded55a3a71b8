"""The command ends in one line if it is interrupted before its modules are imported."""

import builtins

from janus_vit.cli import start


def test_an_interrupt_while_modules_are_imported_is_one_line(monkeypatch, capsys):
    def interrupted(name, *others, real=builtins.__import__, **options):
        if name == "janus_vit.cli.main":
            raise KeyboardInterrupt
        return real(name, *others, **options)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    assert start.main() == 130
    assert capsys.readouterr().err == "janus-vit: interrupted\n"
