"""Writes what is generated in this package: the messages of the protocol, and the synchronous twin.

`python tools/generate.py` needs grpcio-tools of the version in pyproject.toml. A test runs it into
another folder and compares.
"""

import re
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = PACKAGE / "src"
PROTO = PACKAGE.parent.parent / "proto"

NOTE = "# Made by tools/generate.py from shardkeep/_async: change it there.\n"
# What a word of asyncio is without it.
WORDS = {
    "async def": "def",
    "async with": "with",
    "async for": "for",
    "await ": "",
    "Awaitable[Result]": "Result",
    "Awaitable[Response]": "Response",
    "Awaitable, ": "",
    "AsyncIterator": "Iterator",
    "AsyncIterable": "Iterable",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "anext": "next",
    "aclose": "close",
    "_async": "_sync",
}
WORD = re.compile("|".join(rf"(?<![A-Za-z]){re.escape(word)}" for word in WORDS))
# Where asyncio and threads have nothing in common, the file is written by hand for each.
BY_HAND = "runtime.py"


def write_messages(target: Path) -> None:
    """The messages of every file of the protocol, with their types."""
    well_known = resources.files("grpc_tools") / "_proto"
    files = sorted(str(file.relative_to(PROTO)) for file in PROTO.glob("shardkeep/v1/*.proto"))
    arguments = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main(["protoc", *arguments, *files]) != 0:
        raise SystemExit("protoc failed")
    (target / "shardkeep/v1/__init__.py").touch()


def write_twin(target: Path) -> None:
    """The synchronous twin of each asynchronous source."""
    folder = target / "shardkeep/_sync"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((SOURCES / "shardkeep/_async").glob("*.py")):
        if source.name != BY_HAND:
            twin = WORD.sub(lambda found: WORDS[found.group()], source.read_text())
            (folder / source.name).write_text(NOTE + twin)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCES
    target.mkdir(parents=True, exist_ok=True)
    write_messages(target)
    write_twin(target)


if __name__ == "__main__":
    main()
