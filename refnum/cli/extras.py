"""What refnum can use and does not need: the extras, and how to ask for one."""

from __future__ import annotations

import importlib
import importlib.metadata
from types import ModuleType

from ..errors import MissingExtraError

#: Extra -> the distributions that it adds itself; pyproject.toml has their versions.
EXTRAS = {
    "cli": ("typer", "rich", "safetensors"),
    "plot": ("matplotlib",),
    "search": ("optuna", "scikit-learn", "matplotlib"),
    "rtl": ("cocotb",),
    "exact": ("gmpy2", "mpmath"),
    "demo": ("scikit-learn", "softposit"),
    "conformance": ("rich", "pytest", "hypothesis", "ml_dtypes", "gfloat", "gmpy2", "softposit"),
    "cuda": ("refnum-cuda",),
    "docs": ("mkdocs-material", "mkdocstrings", "ruff"),
    "dev": (
        "nox",
        "pre-commit",
        "pytest",
        "pytest-xdist",
        "hypothesis",
        "nbclient",
        "ipykernel",
        "torchao",
        "ruff",
        "mypy",
    ),
}


def require(what: str, module: str, *, extra: str) -> ModuleType:
    """The optional module.

    >>> require("An example", "no_such_module", extra="plot")
    Traceback (most recent call last):
    refnum.errors.MissingExtraError: An example needs no_such_module, which cannot be imported (No module named
    'no_such_module'). It comes with the extra 'plot'. Run: python -m pip install 'refnum[plot]'

    Raises
    ------
    MissingExtraError
        When the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {module}, which cannot be imported ({error}). "
            f"It comes with the extra {extra!r}. Run: python -m pip install 'refnum[{extra}]'"
        ) from None


def installed(distribution: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
