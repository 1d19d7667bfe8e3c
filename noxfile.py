"""What is run to make, check and show refnum: ``nox -l`` lists it, ``nox -s tests demo`` runs it.

Every session makes its own environment, so a machine with CPython 3.11 and pip is enough. A C compiler is needed for
SoftPosit alone: where it is missing, sessions go on, and what would have asked SoftPosit says that it did not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
KERNEL_BUILD: list[str] = nox.project.load_toml("refnum_cuda/pyproject.toml")["build-system"]["requires"]
CONSTRAINTS = ("--constraint", "constraints.txt")
MINIMUMS = ("torch==2.10.*", "numpy==1.26.*")
# what the tests can use
TESTING = ("demo", "search", "conformance", "exact", "pytest-xdist", "nbclient", "ipykernel", "torchao", *KERNEL_BUILD)
# whatever waits for -m slow, but for most simulations of kernels
SLOW = tuple(
    str(path)
    for path in sorted(Path("tests").glob("test_*.py"))
    if "mark.slow" in path.read_text(encoding="utf-8")
    and (path.stem == "test_cuda_build" or not path.stem.startswith("test_cuda_"))
)
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome")  # any that draws pages without a screen
SIMULATORS = {"icarus": "iverilog", "verilator": "verilator"}  # and their programs
COCOTB_2_VERILATOR = (5, 36)  # the first that cocotb 2 compiles with
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # a test worker or a yardstick has one core to itself
# glibc gives large blocks back when they are freed, or not, as it happens; fresh pages cost more than what is measured.
KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 33), "MALLOC_MMAP_THRESHOLD_": str(1 << 33)}


def install(session: nox.Session, *extras: str, constraints: tuple[str, ...] = CONSTRAINTS) -> None:
    """Install the project, editable, with what the extras list; a single requirement may stand for an extra."""
    wanted = [requirement for extra in extras for requirement in EXTRAS.get(extra, [extra])]
    softposit = [requirement for requirement in wanted if requirement.startswith("softposit")]
    session.install(*constraints, "--editable", ".", *(each for each in wanted if each not in softposit))
    if softposit:
        # Its failure to compile is shown and is no failure of the session: whoever needs it skips with the reason.
        session.install("--quiet", *constraints, softposit[0], success_codes=(0, 1), silent=False)


def install_conformance(session: nox.Session) -> None:
    """Install the suite beside the project; the extra ``conformance`` lists what it needs."""
    session.install("--no-deps", "--editable", "./conformance")


def run_tests(session: nox.Session) -> None:
    """Run pytest on the tests and the doctests, or on what the command line names."""
    session.run("pytest", "-n", "2", *session.posargs, env=ONE_THREAD)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the files in examples/, and every example in a docstring."""
    install(session, *TESTING)
    install_conformance(session)
    run_tests(session)


@nox.session
def demo(session: nox.Session) -> None:
    """Classify real digits in posits, check a sample against SoftPosit, and draw refnum-demo.png."""
    install(session, "demo")
    session.run("refnum", "demo", *session.posargs)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Look for mistakes and for departures from the style, with ruff."""
    session.install(*CONSTRAINTS, "ruff")
    session.run("ruff", "check", *session.posargs)


@nox.session(default=False)
def typing(session: nox.Session) -> None:
    """Check the types of the package and of its kernels' Python, with mypy --strict."""
    install(session, "cli", "plot", "hypothesis", "mypy")  # all that the package can use and that has types
    session.run("mypy", *session.posargs)
    session.run("mypy", "--explicit-package-bases", "refnum_cuda/refnum_cuda")


@nox.session(default=False)
def kernels(session: nox.Session) -> None:
    """Compile every kernel for every architecture, with warnings and spills as errors, and install the wheel."""
    install(session, "cli")
    session.install(*CONSTRAINTS, "--no-deps", "./refnum_cuda")
    session.run("refnum", "doctor")  # which backend serves, and why


@nox.session(default=False)
def conformance(session: nox.Session) -> None:
    """Compare every operation with independent oracles, print the table, then compile for every format.

    Arguments go to the suite alone; the long sweeps are ``-- --exhaustive``.
    """
    install(session, "conformance", "search", *KERNEL_BUILD)
    install_conformance(session)
    session.run("python", "-m", "refnum_conformance", *session.posargs)
    if not session.posargs:
        session.run("pytest", "-m", "slow", *SLOW, env=ONE_THREAD)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure speed and memory as ratios, one script after the other; arguments go to each of them."""
    install(session, "cli", "conformance", "exact", "search")
    install_conformance(session)
    for script in sorted(Path("benchmarks").glob("*.py")):
        if script.stem != "harness":
            session.run("python", str(script), *session.posargs, env=ONE_THREAD | KEPT_MEMORY)


@nox.session(default=False)
def cuda(session: nox.Session) -> None:
    """On a machine with a GPU: install the kernels, run their tests on it, the sanitizer on the smallest, benchmarks.

    The torch of the constraints file has to be a build with CUDA.
    """
    install(session, "pytest", "hypothesis", "rich", "matplotlib")
    session.install(*CONSTRAINTS, "--no-deps", "--editable", "./refnum_cuda")
    files = [str(path) for path in sorted(Path("tests").glob("test_cuda_*.py"))]
    session.run("pytest", "-m", "gpu", *files, *session.posargs)
    if not session.posargs:
        session.run("python", "refnum_cuda/record.py")
        session.run("python", "refnum_cuda/probe_tc.py", "--json", "refnum_cuda/results/tensorcores.json")
    if shutil.which("compute-sanitizer"):
        tests = ("python", "-m", "pytest", "-m", "gpu", "-k", "layout", *files)
        session.run("compute-sanitizer", "--error-exitcode", "1", *tests, external=True)
    session.run("python", "refnum_cuda/benchmarks")
    session.run("python", "refnum_cuda/benchmarks/plots.py")


@nox.session(default=False)
def rtl(session: nox.Session) -> None:
    """Simulate the circuits in examples/rtl with golden vectors: by hex files alone, and with cocotb.

    Icarus by default, and Verilator where it is; cocotb 2 needs Verilator 5.036 or later, so an older one has 1.9.
    """
    simulators = {name: shutil.which(program) for name, program in SIMULATORS.items()}
    if not any(simulators.values()):
        session.skip("No simulator is here. Install one: apt install iverilog, or verilator")
    install(session, "rtl")
    folder = session.create_tmp()
    session.run("python", "examples/rtl/vectors.py", folder, *(session.posargs or ("--count", "2000")), env=ONE_THREAD)
    for name, path in simulators.items():
        if path is None:
            session.log(f"{name} is not here: not run.")
            continue
        environment = ONE_THREAD | {"SIM": name}
        session.run("python", "examples/rtl/hex_benches.py", folder, env=environment)
        if name == "verilator" and verilator_version(session) < COCOTB_2_VERILATOR:
            session.install("cocotb==1.9.*")
        session.run("python", "examples/rtl/cocotb_benches.py", folder, env=environment)


def verilator_version(session: nox.Session) -> tuple[int, ...]:
    """What ``Verilator 5.006 2023-01-22`` says."""
    said = session.run("verilator", "--version", external=True, silent=True)
    return tuple(map(int, str(said).split()[1].split(".")))


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Write the tables of the pages anew, make the site in site/, where a warning is an error, and test both."""
    install(session, "docs", "cli", "conformance")
    install_conformance(session)
    session.run("python", "docs/tables.py")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("pytest", "tests/test_docs_site.py", env=ONE_THREAD)


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Make the site and the report in site/, and with Chromium pictures of both, light and dark, in docs/images/."""
    install(session, "docs", "cli", "plot", "conformance")
    install_conformance(session)
    session.run("mkdocs", "build", "--strict")
    session.run("refnum", "report", "--output", "site/report.html", env=ONE_THREAD)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        session.skip(f"Both are in site/. For the pictures, install one of {', '.join(BROWSERS)} (Debian: chromium).")
    session.run("python", "docs/pictures.py", browser, "site", env=ONE_THREAD)


@nox.session(default=False)
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest torch and numpy that the package admits.

    The lowest torch is not that of the constraints file, so on Linux pip fetches a build of several gigabytes unless it
    is told of an index with CPU builds.
    """
    install(session, *TESTING, constraints=MINIMUMS)
    install_conformance(session)
    run_tests(session)
