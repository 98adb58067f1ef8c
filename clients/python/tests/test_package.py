"""What is generated is current, and the types are right."""

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def test_what_is_generated_is_what_the_sources_say(tmp_path):
    subprocess.run([sys.executable, PACKAGE / "tools/generate.py", tmp_path], check=True)
    made = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(made) > 5
    for file in made:
        kept = PACKAGE / "src" / file.relative_to(tmp_path)
        assert kept.read_text() == file.read_text(), f"{kept.name}: run tools/generate.py"


def test_the_types_are_right(tmp_path):
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)]
    environment = {**os.environ, "MYPYPATH": str(PACKAGE / "src")}
    checked = subprocess.run(command, cwd=PACKAGE, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
