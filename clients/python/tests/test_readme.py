"""The examples of the README do what they say."""

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import traceback
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
FLAGS = doctest.ELLIPSIS


async def output_of(source: str, names: dict[str, object]) -> str:
    """What `python -m asyncio` prints for an example."""
    code = compile(source, "README.md", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            waiting = eval(code, names)
            if inspect.iscoroutine(waiting):
                await waiting
        except Exception as error:
            last = traceback.format_exception_only(error)[-1]
            return f"Traceback (most recent call last):\n{last}"
    return said.getvalue()


async def test_the_examples_of_the_readme(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = README.read_text().replace("127.0.0.1:8282", server.target)
    examples = doctest.DocTestParser().get_examples(text)
    assert len(examples) > 20
    names: dict[str, object] = {}
    failed = []
    for example in examples:
        got = await output_of(example.source, names)
        if not doctest.OutputChecker().check_output(example.want, got, FLAGS):
            failed.append(f"line {example.lineno + 1}: {example.source}{got}")
    await names["db"].close()
    assert not failed, "\n".join(failed)
