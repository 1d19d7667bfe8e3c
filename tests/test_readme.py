"""The README tells the truth: its examples run, its commands are what CI runs, and its sessions exist."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path

import pytest

from refnum.cli import run

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^(python3 .*? -s (\w+))\b", SHELL, re.MULTILINE)
CONSOLE = re.findall(r"^```console\n\$ refnum (.*?)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_python_examples() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", str(README), 0)
    failed, attempted = doctest.DocTestRunner().run(test)
    assert attempted >= 5
    assert not failed


@pytest.mark.parametrize(("arguments", "output"), CONSOLE)
def test_console_examples(arguments: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("typer", reason="the command line needs the extra cli")
    assert run(arguments.split()) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == output.splitlines()


def test_there_are_console_examples() -> None:
    assert CONSOLE


def test_the_two_commands_are_sessions() -> None:
    functions = [
        node for node in ast.parse((ROOT / "noxfile.py").read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    sessions = {node.name for node in functions if node.decorator_list}
    assert {session for _, session in COMMANDS} == {"demo", "tests"}
    assert {"tests", "demo", "lint", "typing", "conformance", "bench", "minimums"} <= sessions
    assert all(ast.get_docstring(node) for node in functions)


def test_ci_runs_the_command_of_the_readme() -> None:
    command = next(command for command, session in COMMANDS if session == "tests")
    assert any(line.removesuffix(" || exit") == command for line in (ROOT / ".ci" / "run").read_text().splitlines())
