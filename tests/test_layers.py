"""The list of rooms is the architecture: imports go leftwards only, and importing refnum stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import refnum

PACKAGE = Path(refnum.__file__).parent

#: A room imports from rooms to its left. Rooms in one pair of brackets don't know each other.
ROOMS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("backend",),
    ("formats",),
    ("reals",),  # integers alone
    ("core.constants",),  # a mark for compilers
    ("core.books",),  # tables that decode and pack look up
    ("core.decode",),
    ("core.exact",),
    ("core.pack",),
    ("core.round",),
    ("fast",),
    ("boundary",),  # what public functions check, once
    ("codec",),
    ("functions",),
    ("posit", "mx"),
    ("values",),
    ("sums",),
    ("ops",),
    ("nn",),
    ("testing",),
    ("lab",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}

RUNTIME = {"torch", "numpy"}  #: what refnum depends on
NO_TORCH = {"errors", "backend", "formats", "reals"}  #: rooms that stay light: `refnum --help` needs no more of them
#: who may import an extra at once
OPTIONAL = {"cli": {"typer", "rich", "click"}, "testing.strategies": {"hypothesis"}, "lab.plot": {"matplotlib"}}
OURS = {"refnum_cuda", "refnum_conformance"}  #: our other distributions: they import refnum


# ---- the checker --------------------------------------------------------------------------------------------------


def module_name(path: str) -> str:
    """``posit/arithmetic.py`` -> ``posit.arithmetic``; a package is named like its folder."""
    return path.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")


def room(module: str) -> str | None:
    """The room that a module is in."""
    parts = module.split(".")
    return next((name for i in range(len(parts), 0, -1) if (name := ".".join(parts[:i])) in RANK), None)


def within(module: str, names: set[str]) -> bool:
    """Whether a module is one of the names, or lies in one of them."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def imports(tree: ast.AST, *, at_once: bool = False) -> Iterator[tuple[int, str, list[str]]]:
    """(level, module, names) of imports; ``at_once`` leaves out those that wait for a call or serve type checkers."""
    if at_once and isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return
    if isinstance(tree, ast.Import):
        yield from ((0, alias.name, []) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        yield tree.level, tree.module or "", [alias.name for alias in tree.names]
    types_only = at_once and isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test)
    for child in tree.orelse if types_only else ast.iter_child_nodes(tree):
        yield from imports(child, at_once=at_once)


def targets(importer: str, is_package: bool, level: int, module: str, names: list[str], known: set[str]) -> list[str]:
    """The full names of modules that one import statement reads."""
    if level:
        parts = ["refnum", *filter(None, importer.split("."))]
        parents = parts[: len(parts) - level + is_package]
        module = ".".join([*parents, *filter(None, [module])])
    if not within(module, {"refnum"}):
        return [module]
    found = [f"{module}.{name}".removeprefix("refnum.") for name in names]
    modules = [f"refnum.{name}" for name in found if name in known]
    return modules + [module] * (len(modules) < max(1, len(names)))


def violations(sources: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of a package, given by the texts of its files."""
    known = {module_name(path) for path in sources}
    return [
        f"{path}: {wrong}"
        for path, text in sources.items()
        for wrong in (*_directions(path, ast.parse(text), known), *_weights(path, ast.parse(text), known))
    ]


def _directions(path: str, tree: ast.AST, known: set[str]) -> Iterator[str]:
    importer = module_name(path)
    here = room(importer)
    if here is None:
        if importer not in ("", "core"):
            yield "lies in no room"
        for _, module, names in imports(tree, at_once=True):
            if within(module, {"refnum"}) or any(name in known for name in (module, *names)):
                yield f"imports {module or names} at once, and others import it"
        return
    for level, module, names in imports(tree):
        for target in targets(importer, path.endswith("__init__.py"), level, module, names, known):
            if target == "refnum" and names != ["__version__"]:
                yield f"imports {', '.join(names) or 'refnum'} from the root, not from its room"
            if not within(target, {"refnum"}) or target == "refnum":
                continue
            there = room(target.removeprefix("refnum."))
            if there is None:
                yield f"imports {target}, which lies in no room"
            elif there != here and RANK[there] >= RANK[here]:
                yield f"{here} imports {there}, which is not to its left"


def _weights(path: str, tree: ast.AST, known: set[str]) -> Iterator[str]:
    importer = module_name(path)
    extras = {extra for name, names in OPTIONAL.items() if within(importer, {name}) for extra in names}
    light = within(importer, NO_TORCH) or importer == ""
    allowed = {*sys.stdlib_module_names, "refnum", *extras, *(set() if light else RUNTIME)}
    for level, module, _ in imports(tree, at_once=True):
        if not level and module.split(".")[0] not in allowed:
            yield f"imports {module} at import time"
    for level, module, _ in imports(tree):
        if not level and module.split(".")[0] in OURS and not within(importer, {"backend", "cli"}):
            yield f"imports {module}, which imports refnum"


# ---- refnum itself ------------------------------------------------------------------------------------------------

SOURCES = {str(path.relative_to(PACKAGE).as_posix()): path.read_text() for path in PACKAGE.rglob("*.py")}


def test_imports_go_leftwards_and_stay_light() -> None:
    assert not violations(SOURCES)


def test_errors_imports_nothing() -> None:
    assert [module for _, module, _ in imports(ast.parse(SOURCES["errors.py"]))] in ([], ["__future__"])


def test_the_rooms_that_exist_are_found() -> None:
    """A checker that looks at nothing would find nothing."""
    assert {"errors", "core.round", "fast", "posit", "sums", "ops", "nn", "testing"} <= {
        room(module_name(p)) for p in SOURCES
    }
    leftward = [t for p, text in SOURCES.items() for t in imports(ast.parse(text)) if t[0]]
    assert len(leftward) > 50


# ---- the checker can fail -----------------------------------------------------------------------------------------

GOOD = {
    "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .codec import encode",
    "errors.py": "",
    "formats.py": "from .errors import FormatError",
    "core/__init__.py": "",
    "core/decode.py": "import torch\nfrom ..formats import Posit",
    "core/round.py": "from .decode import Exact",
    "fast/__init__.py": "",
    "fast/magic.py": "from ..core import round\nfrom .chunks import pieces",
    "fast/chunks.py": "import torch",
    "codec.py": "from .fast import magic\nfrom .core import decode as core_decode",
    "posit/__init__.py": "from .arithmetic import add",
    "posit/arithmetic.py": "from ..core.decode import Exact\nfrom .. import codec",
    "mx/__init__.py": "from refnum.codec import encode\nimport numpy as np",
    "testing/__init__.py": "",
    "testing/strategies.py": "import hypothesis\nfrom ..posit import add",
    "backend.py": "def status():\n    import refnum_cuda",
    "cli/__init__.py": "import typer\nfrom .. import __version__\ndef show():\n    import torch\n    import matplotlib",
}


def test_a_good_package_passes() -> None:
    assert not violations(GOOD)


@pytest.mark.parametrize(
    ("path", "line", "wrong"),
    [
        ("core/decode.py", "from .round import RULES", "core.decode imports core.round"),
        ("core/decode.py", "from . import round", "core.decode imports core.round"),
        ("core/decode.py", "from ..core import round", "core.decode imports core.round"),
        ("core/decode.py", "from ..codec import encode", "core.decode imports codec"),
        ("core/decode.py", "import refnum.codec", "core.decode imports codec"),
        ("core/decode.py", "def f():\n    from refnum import codec", "core.decode imports codec"),
        ("core/decode.py", "if TYPE_CHECKING:\n    from ..codec import encode", "core.decode imports codec"),
        (
            "core/decode.py",
            "try:\n    from .. import codec\nexcept ImportError:\n    pass",
            "core.decode imports codec",
        ),
        ("core/__init__.py", "from . import decode", "at once"),
        ("posit/arithmetic.py", "from ..mx import quantize", "posit imports mx"),
        ("mx/__init__.py", "from .. import posit", "mx imports posit"),
        ("mx/__init__.py", "from refnum import encode", "imports encode from the root"),
        ("mx/__init__.py", "import refnum", "imports refnum from the root"),
        ("errors.py", "from .formats import Posit", "errors imports formats"),
        ("stray.py", "", "lies in no room"),
        ("codec.py", "from .stray import thing", "codec imports stray"),
        ("__init__.py", "from .codec import encode", "at once"),
        ("__init__.py", "from . import formats", "at once"),
        ("__init__.py", "import torch", "imports torch at import time"),
        ("formats.py", "import torch", "imports torch at import time"),
        ("formats.py", "import numpy.typing", "imports numpy.typing at import time"),
        ("codec.py", "import rich", "imports rich at import time"),
        ("codec.py", "class A:\n    from hypothesis import given", "imports hypothesis at import time"),
        ("codec.py", "try:\n    import gmpy2\nexcept ImportError:\n    pass", "imports gmpy2 at import time"),
        ("testing/__init__.py", "import hypothesis", "imports hypothesis at import time"),
        ("cli/__init__.py", "import sklearn", "imports sklearn at import time"),
        ("backend.py", "import refnum_cuda", "imports refnum_cuda at import time"),
        ("codec.py", "def f():\n    import refnum_conformance", "which imports refnum"),
    ],
)
def test_a_bad_import_is_found(path: str, line: str, wrong: str) -> None:
    if "stray" in wrong and path != "stray.py":
        found = violations(GOOD | {"stray.py": "", path: line})
        assert any("lies in no room" in each for each in found if each.startswith(path))
        return
    found = violations(GOOD | {path: line})
    assert [each for each in found if each.startswith(f"{path}: ") and wrong in each], found


# ---- a fresh process ----------------------------------------------------------------------------------------------

EXTRAS = {
    *("typer", "rich", "click", "matplotlib", "sklearn", "softposit", "hypothesis", "optuna", "pytest"),
    *("ml_dtypes", "gfloat", "refnum_cuda", "refnum_conformance"),
}


def modules_after(code: str) -> set[str]:
    """The modules that a new process has loaded after some code."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    path = {"PYTHONPATH": str(PACKAGE.parent), "PATH": ""}
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=path)
    return set(output.stdout.split())


def test_importing_refnum_loads_no_torch() -> None:
    loaded = modules_after("import refnum; refnum.Posit(16), refnum.posit8, refnum.FormatError, refnum.status()")
    assert {"refnum", "refnum.formats", "refnum.errors", "refnum.backend"} <= loaded
    assert not loaded & {"torch", "numpy", "refnum.codec", "refnum.core", "refnum.posit"}


def test_first_use_loads_torch_and_no_compiler() -> None:
    loaded = modules_after("import refnum; refnum.encode, refnum.gemm, refnum.functions.exp, refnum.testing")
    assert {"torch", "refnum.codec"} <= loaded
    assert "torch._dynamo" not in loaded


def test_no_public_name_loads_an_extra_or_a_compiler() -> None:
    loaded = modules_after("import refnum\nfor name in refnum.__all__: getattr(refnum, name)")
    assert "refnum.ops" in loaded
    assert not {name.split(".")[0] for name in loaded} & EXTRAS
    assert "torch._inductor.codecache" not in loaded
    assert "torch.utils.cpp_extension" not in loaded


def test_records_are_told_apart_as_every_torch_compiles_it() -> None:
    """No `match` on classes, no isinstance of a union: before torch 2.11, and 2.12, torch.compile follows neither."""
    unions = {"Format", "Scalar", "Element", "Scale", "Cuttable", "Addable", "Powered"}
    rooms = (path for room in ("core", "fast", "mx") for path in (PACKAGE / room).glob("*.py"))
    others = ("codec", "boundary", "formats/containment", "formats/blocks")
    for path in (*rooms, *(PACKAGE / f"{name}.py" for name in others)):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.MatchClass) or path.name == "slices.py", path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                kinds = node.args[1]
                assert not isinstance(kinds, ast.BinOp), path
                assert ast.unparse(kinds).split(".")[-1] not in unions, path
