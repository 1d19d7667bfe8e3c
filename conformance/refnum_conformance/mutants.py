"""Every small mistake that can be made in refnum/core, one at a time, and whether it is noticed.

    python -m refnum_conformance.mutants                  # all of them; continues where it was interrupted
    python -m refnum_conformance.mutants --only exact.add --workers 2

A mutant is one file of the core with one mistake in it. A forked child imports refnum with that file in place of its
own and goes through the checks of `mutant_suite` until a result differs, something raises, or its time is up. A mutant
that gets through must stand in `equivalent_mutants`, with a proof that no operands could tell it from the original; and
none that stands there may be noticed.

The ledger, ``conformance/results/mutants.jsonl``, gets a line for each mutant; a table in Markdown stands beside it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import hashlib
import importlib.abc
import importlib.util
import json
import os
import platform
import re
import resource
import selectors
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch

from .equivalent_mutants import EQUIVALENT, Key
from .mutant_suite import AnyCheck, digest, suite

PACKAGE = Path(importlib.util.find_spec("refnum").submodule_search_locations[0])  # type: ignore[union-attr,index]
CORE = ("books", "decode", "exact", "pack", "round")
#: what the checks run through: the core, and what the rows of the suite need around it
SOURCES = (
    *(f"core/{file}.py" for file in (*CORE, "constants")),
    *(f"formats/{path.name}" for path in sorted((PACKAGE / "formats").glob("*.py"))),
    *("boundary.py", "codec.py", "fast/chunks.py", "fast/halves.py", "fast/tables.py"),
    *(f"posit/{file}.py" for file in ("_patterns", "arithmetic", "basics", "conversions")),
)

RESULTS = Path(__file__).parents[1] / "results"
LEDGER, TABLE = "mutants.jsonl", "mutants.md"
ESCAPED = str.maketrans({"|": r"\|"})  #: for a cell of the table

PATIENCE = 10  #: how many times as long as the unchanged core a mutant may take
LEAST_LIMIT = 30.0  #: seconds that it always gets
MEMORY = 16 << 30  #: bytes of address space


# Mistakes ------------------------------------------------------------------------------------------------------------
#
# A mistake is an expression, or a statement, that takes the place of another one. Each function yields those of a node.

COMPARISONS: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
OPERATORS: dict[type[ast.operator], tuple[str, tuple[type[ast.operator], ...]]] = {
    ast.BitAnd: ("& and |", (ast.BitOr,)),
    ast.BitOr: ("& and |", (ast.BitAnd,)),
    ast.BitXor: ("^ to |, &", (ast.BitOr, ast.BitAnd)),
    ast.LShift: ("shift direction", (ast.RShift,)),
    ast.RShift: ("shift direction", (ast.LShift,)),
    ast.Add: ("+ and -", (ast.Sub,)),
    ast.Sub: ("+ and -", (ast.Add,)),
    ast.Mult: ("* / // %", (ast.Add,)),
    ast.Div: ("* / // %", (ast.Mult,)),
    ast.FloorDiv: ("* / // %", (ast.Mod,)),
    ast.Mod: ("* / // %", (ast.FloorDiv,)),
}
OPPOSITES = {"min": "max", "amin": "amax", "minimum": "maximum"}
OPPOSITES |= {second: first for first, second in OPPOSITES.items()}
CHOICES = ("select", "where")  #: functions (condition, one, other)
WRAPPERS = ("sticky", "nonzero", "clamp", "abs")  #: functions and methods whose argument could stand for the result

Mistakes = Iterator[tuple[str, ast.AST]]


def _comparison(node: ast.Compare) -> Mistakes:
    for i, operator in enumerate(node.ops):
        for other in COMPARISONS:
            if isinstance(operator, COMPARISONS) and not isinstance(operator, other):
                yield (
                    "comparison",
                    ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators),
                )


def _constant(node: ast.Constant) -> Mistakes:
    if type(node.value) is int:
        yield "constant + 1", ast.Constant(node.value + 1)
        yield "constant - 1", ast.Constant(node.value - 1)


def _binary(node: ast.BinOp) -> Mistakes:
    kind, others = OPERATORS[type(node.op)]
    for other in others:
        yield kind, ast.BinOp(node.left, other(), node.right)
    yield "dropped term", node.left
    yield "dropped term", node.right


def _unary(node: ast.UnaryOp) -> Mistakes:
    yield "dropped ~, -, not", node.operand


def _logical(node: ast.BoolOp) -> Mistakes:
    yield "and, or", ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    for i in range(len(node.values)):
        rest = [*node.values[:i], *node.values[i + 1 :]]
        yield "dropped term", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _conditional(node: ast.IfExp) -> Mistakes:
    yield "swapped choices", ast.IfExp(node.test, node.orelse, node.body)


def _called(node: ast.Call) -> tuple[str, ast.expr | None]:
    """The bare name of what is called, and the object of a method."""
    match node.func:
        case ast.Name(name):
            return name, None
        case ast.Attribute(value, name):
            return name, value
        case _:
            return "", None


def _call(node: ast.Call) -> Mistakes:
    name, owner = _called(node)
    if name in CHOICES:
        yield "swapped choices", ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
    if name in OPPOSITES:
        opposite = OPPOSITES[name]
        function = ast.Name(opposite) if owner is None else ast.Attribute(owner, opposite)
        yield "min and max", ast.Call(function, node.args, node.keywords)
    for i, word in enumerate(node.keywords):
        if word.arg in OPPOSITES:
            swapped = [*node.keywords[:i], ast.keyword(OPPOSITES[word.arg], word.value), *node.keywords[i + 1 :]]
            yield "min and max", ast.Call(node.func, node.args, swapped)
    if name in WRAPPERS:
        yield "dropped call", node.args[0] if owner is None else owner


def _augmented(node: ast.AugAssign) -> Mistakes:
    kind, others = OPERATORS[type(node.op)]
    for other in others:
        yield kind, ast.AugAssign(node.target, other(), node.value)
    yield "dropped term", ast.Pass()


def _matched(node: ast.Match) -> Mistakes:
    for i, (first, second) in enumerate(zip(node.cases[:-1], node.cases[1:], strict=True)):
        swapped = [
            ast.match_case(first.pattern, first.guard, second.body),
            ast.match_case(second.pattern, second.guard, first.body),
        ]
        yield "swapped choices", ast.Match(node.subject, [*node.cases[:i], *swapped, *node.cases[i + 2 :]])


MISTAKES: dict[type[ast.AST], Callable[[Any], Mistakes]] = {
    ast.Compare: _comparison,
    ast.Constant: _constant,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logical,
    ast.IfExp: _conditional,
    ast.Call: _call,
    ast.AugAssign: _augmented,
    ast.Match: _matched,
}


# Mutants -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """One file with one mistake in it."""

    file: str  #: in refnum/core, without .py
    function: str  #: where, empty on the level of the module
    kind: str  #: the kind of mistake
    before: str  #: the expression or statement around the mistake
    after: str  #: the same with the mistake
    nth: int  #: which one, where the function has several alike
    source: str = field(repr=False)  #: the whole file

    @property
    def key(self) -> Key:
        """What names it, as long as its function stays as it is."""
        return Key(self.file, self.function, self.before, self.after, self.nth)

    @property
    def place(self) -> tuple[str, str]:
        """The file and the function."""
        return self.file, self.function

    def __str__(self) -> str:
        return str(self.key)


#: what changes nothing, as what a constant less 1 leaves: it is the same program as that without the term
_NOTHING = re.compile(r" ([-+]|<<|>>) 0(?=[)\]},:]|$)", re.MULTILINE)


def generate(file: str, source: str) -> Iterator[Mutant]:
    """All mutants of a file, no two of them the same program."""
    lines = source.splitlines(keepends=True)
    seen: Counter[tuple[str, str, str]] = Counter()
    for statement in ast.parse(source).body:
        same = {ast.unparse(statement)}
        start = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
        for place in _places(statement, "", None, None):
            for kind, before, after in place.mistakes():
                text = ast.unparse(statement)
                if (program := _NOTHING.sub("", text)) in same:
                    continue
                same.add(program)
                seen[place.function, before, after] += 1
                whole = "".join([*lines[: start - 1], text, "\n", *lines[statement.end_lineno :]])
                yield Mutant(file, place.function, kind, before, after, seen[place.function, before, after], whole)


@dataclass(frozen=True)
class _Place:
    """A node of the tree, and how another one takes its place."""

    node: ast.AST
    function: str
    around: ast.AST | None  #: the smallest expression, or simple statement, that says what the node is for
    put: Callable[[ast.AST], None]

    def mistakes(self) -> Iterator[tuple[str, str, str]]:
        """Make each mistake in turn: (kind, text before, text after). The tree holds it until the next one."""
        for kind, wrong in MISTAKES.get(type(self.node), lambda node: iter(()))(self.node):
            around = self.around if isinstance(self.node, ast.Constant) and self.around else None
            before = _words(around or self.node)
            self.put(ast.fix_missing_locations(copy.deepcopy(wrong)))
            yield kind, before, _words(around or wrong)
            self.put(self.node)


def _words(node: ast.AST) -> str:
    if isinstance(node, ast.Match):
        cases = (f"case {ast.unparse(c.pattern)}: {'; '.join(map(ast.unparse, c.body))}" for c in node.cases)
        return " ".join(cases).replace("\n", "; ")
    return ast.unparse(node)


_SAYS_LITTLE = (ast.Slice, ast.Tuple, ast.UnaryOp, ast.keyword)  #: nodes that describe no place by themselves
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.Return, ast.Expr, ast.AugAssign)
_NOT_RUN = ("annotation", "returns")  #: under `from __future__ import annotations`, types are never evaluated


def _places(node: ast.AST, function: str, around: ast.AST | None, put: Any) -> Iterator[_Place]:
    """All nodes below one, and itself, but for types and assertions, which state what is known already."""
    if isinstance(node, ast.Assert):
        return
    if put is not None:
        yield _Place(node, function, around, put)
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        function = f"{function}.{node.name}".lstrip(".")
    if isinstance(node, (ast.expr, *_SIMPLE)) and not isinstance(node, _SAYS_LITTLE):
        around = node
    for name, value in ast.iter_fields(node):
        if name in _NOT_RUN:
            continue
        for i, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                yield from _places(child, function, around, _putter(node, name, i if isinstance(value, list) else None))


def _putter(parent: ast.AST, name: str, index: int | None) -> Callable[[ast.AST], None]:
    def put(node: ast.AST) -> None:
        if index is None:
            setattr(parent, name, node)
        else:
            getattr(parent, name)[index] = node

    return put


def core() -> list[Mutant]:
    """All mutants of the core."""
    return [m for file in CORE for m in generate(file, (PACKAGE / "core" / f"{file}.py").read_text())]


# One child -----------------------------------------------------------------------------------------------------------


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Serves one module from a text."""

    def __init__(self, module: str, source: str) -> None:
        self.module, self.source = module, source

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """For the module alone."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.module else None

    def get_source(self, fullname: str) -> str:
        """The text, from which the loader's other methods make the module."""
        return self.source


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    by: str | None  #: the check that noticed it, or None
    how: str = ""  #: differs, the type of an exception, or what ended it


def _first_failure(file: str, source: str, checks: Iterable[AnyCheck]) -> Verdict:
    """In a child: import refnum with the text as a file of its core, and go through the checks."""
    for name in [name for name in sys.modules if name.split(".")[0] == "refnum" or name == f"{__package__}.target"]:
        library = vars(sys.modules.pop(name)).get("LIBRARY")
        if library is not None:
            library._destroy()  # torch lets nobody register operations a second time
    sys.meta_path.insert(0, _Instead(f"refnum.core.{file}", source))
    by = "import"
    try:
        subject = {file: importlib.import_module(f"refnum.core.{file}") for file in CORE}
        subject["target"] = importlib.import_module(f"{__package__}.target")
        for check in checks:
            by = check.name
            if not check.holds(subject):
                return Verdict(by, "differs")
    except Exception as error:  # noqa: BLE001  whatever it is, it has been noticed
        return Verdict(by, type(error).__name__)
    return Verdict(None)


@dataclass(frozen=True)
class Child:
    """A process that tries one mutant."""

    pid: int
    pipe: int
    began: float
    limit: float

    @classmethod
    def start(cls, file: str, source: str, checks: Iterable[AnyCheck], limit: float) -> Child:
        """Fork it."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return cls(pid, reading, time.monotonic(), limit)
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and winds up
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os.write(writing, json.dumps(asdict(_first_failure(file, source, checks))).encode())
        finally:
            os._exit(0)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def late(self) -> bool:
        """Whether its time is up."""
        return self.seconds >= self.limit

    def end(self) -> Verdict:
        """What it says; a late one is stopped first."""
        late = self.late
        if late:
            os.kill(self.pid, signal.SIGKILL)
        said = os.read(self.pipe, 1 << 16)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        if said:
            return Verdict(**json.loads(said))
        return Verdict("the clock", "took too long") if late else Verdict("the system", "crashed")


def run(
    mutants: Iterable[Mutant], checks: Sequence[AnyCheck], limit: float, workers: int
) -> Generator[tuple[Mutant, Verdict], None, None]:
    """Try mutants, so many at a time, each first with the check that has noticed the last one in the same function."""
    torch.broadcast_shapes((1,), (1,))  # type: ignore[no-untyped-call]  # loads what every child would load anew
    waiting, by_name = iter(mutants), {check.name: check for check in checks}
    hints: dict[tuple[str, str], AnyCheck] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while len(selector.get_map()) < workers and (mutant := next(waiting, None)):
                    hint = [hints[mutant.place]] if mutant.place in hints else []
                    child = Child.start(mutant.file, mutant.source, [*hint, *checks], limit)
                    selector.register(child.pipe, selectors.EVENT_READ, (mutant, child))
                if not selector.get_map():
                    return
                ready = {key.fd for key, _ in selector.select(timeout=1.0)}
                for key in list(selector.get_map().values()):
                    mutant, child = key.data
                    if key.fd in ready or child.late:
                        selector.unregister(key.fd)
                        verdict = child.end()
                        if verdict.by in by_name:
                            hints[mutant.place] = by_name[verdict.by]
                        yield mutant, verdict
        finally:
            for key in selector.get_map().values():
                os.kill(key.data[1].pid, signal.SIGKILL)
                key.data[1].end()


# The ledger ----------------------------------------------------------------------------------------------------------


def provenance(checks: Sequence[AnyCheck]) -> dict[str, str]:
    """What the result holds for."""
    sources = hashlib.sha256()
    for path in SOURCES:
        sources.update(f"{path}\0{(PACKAGE / path).read_text()}\0".encode())
    return {
        "sources": sources.hexdigest()[:16],
        "suite": f"{digest(checks)}, {len(checks):,} checks",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@dataclass
class Ledger:
    """The verdicts so far: a line of JSON each, below one that says what they hold for."""

    path: Path
    made: dict[str, str]
    verdicts: dict[Key, Verdict] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, made: dict[str, str], *, restart: bool) -> Ledger:
        """Continue the ledger at the path, or begin one there if it holds for something else."""
        ledger = cls(path, made)
        lines = path.read_text().splitlines() if path.exists() and not restart else []
        if not lines or json.loads(lines[0]) != made:
            path.write_text(json.dumps(made) + "\n")
            return ledger
        for line in lines[1:]:
            row = json.loads(line)
            ledger.verdicts[Key(*row["mutant"])] = Verdict(row["by"], row["how"])
        return ledger

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Enter a mutant."""
        self.verdicts[mutant.key] = verdict
        with self.path.open("a") as file:
            file.write(json.dumps({"mutant": mutant.key, **asdict(verdict)}) + "\n")

    def sort(self, mutants: Iterable[Mutant]) -> None:
        """Write the lines in the order of the mutants."""
        rows = ({"mutant": m.key, **asdict(self.verdicts[m.key])} for m in mutants if m.key in self.verdicts)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.write_text("".join(json.dumps(row) + "\n" for row in (self.made, *rows)))
        fresh.replace(self.path)


# The judgement -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """What the verdicts and the proofs say together."""

    mutants: Sequence[Mutant]
    verdicts: dict[Key, Verdict]
    unknown: Sequence[Key]  #: entries that are no mutants any more

    @property
    def tried(self) -> list[Mutant]:
        """Those that have a verdict."""
        return [m for m in self.mutants if m.key in self.verdicts]

    @property
    def alive(self) -> list[Mutant]:
        """Those that nothing noticed."""
        return [m for m in self.tried if self.verdicts[m.key].by is None]

    @property
    def unexplained(self) -> list[Mutant]:
        """Those among them that have no proof."""
        return [m for m in self.alive if m.key not in EQUIVALENT]

    @property
    def refuted(self) -> list[Mutant]:
        """Those with a proof that were noticed nevertheless."""
        return [m for m in self.tried if m.key in EQUIVALENT and self.verdicts[m.key].by is not None]

    def problems(self) -> list[str]:
        """Everything that is wrong, in words."""
        return [
            *(f"unexplained: {m}. Add a check that notices it, or a proof that none can." for m in self.unexplained),
            *(f"refuted: {m} is noticed by {self.verdicts[m.key].by}. Remove its proof." for m in self.refuted),
            *(
                f"stale: there is no mutant {key}. Remove its proof, or write down its new name."
                for key in self.unknown
            ),
        ]

    def table(self, made: dict[str, str]) -> str:
        """The result as Markdown."""
        lines = ["# Mutants of refnum/core", "", *(f"- {key}: {value}" for key, value in made.items()), ""]
        lines += [*self.counts("file", lambda m: f"core/{m.file}.py"), "", *self.counts("mistake", lambda m: m.kind)]
        proofs: dict[str, list[Mutant]] = {}
        for mutant in self.alive:
            proofs.setdefault(EQUIVALENT.get(mutant.key, "**No proof.**"), []).append(mutant)
        lines += ["", "## Equivalent ones, and why"]
        for proof, mutants in proofs.items():
            lines += ["", *(f"- {m}" for m in mutants), "", proof]
        return "\n".join(lines) + "\n"

    def counts(self, title: str, group: Callable[[Mutant], str]) -> list[str]:
        """A table with a line for each group."""
        lines = [
            f"| {title} | mutants | tried | noticed | equivalent | unexplained |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        names = list(dict.fromkeys(map(group, self.mutants)))
        for name, ours in [*((name, [name]) for name in names), ("all", names)]:
            made, tried, alive, unexplained = (
                sum(group(m) in ours for m in mutants)
                for mutants in (self.mutants, self.tried, self.alive, self.unexplained)
            )
            numbers = (made, tried, tried - alive, alive - unexplained, unexplained)
            lines.append(" | ".join([f"| {name.translate(ESCAPED)}", *map(str, numbers)]) + " |")
        return lines


# The run -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A function to call after every mutant: it moves a bar, or prints a line now and then."""
    bar = _bar()
    if bar is None:
        yield _lines(total)
        return
    with bar:
        task = bar.add_task("mutants", total=total, note="")
        yield lambda note: bar.update(task, advance=1, note=note, refresh=True)


def _bar() -> Any:
    """A bar where there is rich, and a terminal.

    It has no thread of its own: one that held a lock during a fork would leave it locked in the child for ever.
    """
    try:
        from rich import progress as rich
    except ImportError:
        return None
    times = (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    words = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
    bar = rich.Progress(*words, *times, rich.TextColumn("{task.fields[note]}"), auto_refresh=False)
    return bar if bar.console.is_terminal else None


def _lines(total: int) -> Callable[[str], None]:
    done = iter(range(1, total + 1))

    def step(note: str) -> None:
        count = next(done)
        if count % 100 == 0 or count == total:
            print(f"{count:,} of {total:,} mutants, {note}", flush=True)

    return step


def try_all(ledger: Ledger, mutants: Sequence[Mutant], checks: Sequence[AnyCheck], workers: int) -> bool:
    """Try what the ledger lacks. False when interrupted."""
    limit = max(LEAST_LIMIT, PATIENCE * _time_of_the_original(checks))
    missing = [m for m in mutants if m.key not in ledger.verdicts]
    alive = 0
    with progress(len(missing)) as step, contextlib.closing(run(missing, checks, limit, workers)) as tried:
        try:
            for mutant, verdict in tried:
                ledger.add(mutant, verdict)
                alive += verdict.by is None
                step(f"{alive} alive")
        except KeyboardInterrupt:
            return False
    return True


def _time_of_the_original(checks: Sequence[AnyCheck]) -> float:
    """Seconds in which the core itself passes all checks, as it must."""
    source = (PACKAGE / "core" / f"{CORE[0]}.py").read_text()
    began = time.monotonic()
    ((_, verdict),) = run([Mutant(CORE[0], "", "none", "", "", 1, source)], checks, float("inf"), 1)
    if verdict.by is not None:
        raise SystemExit(
            f"The unchanged core fails {verdict.by} ({verdict.how}), so no mutant can be judged. "
            "Run the conformance suite, and put that right first."
        )
    return time.monotonic() - began


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="refnum_conformance.mutants", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="mutants with this word in their name, e.g. 'exact.add'"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the ledger")
    parser.add_argument("--restart", action="store_true", help="begin again instead of continuing the ledger")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Try the mutants: 0 when all are noticed or proved equivalent, 1 when not, 130 when interrupted."""
    arguments = _arguments(argv)
    torch.set_num_threads(1)  # threads do not survive a fork
    every = core()
    chosen = [m for m in every if not arguments.only or any(word in str(m) for word in arguments.only)]
    checks = suite()
    arguments.results.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(arguments.results / LEDGER, provenance(checks), restart=arguments.restart)
    finished = try_all(ledger, chosen, checks, arguments.workers)
    ledger.sort(every)
    judgement = Judgement(every, ledger.verdicts, sorted(set(EQUIVALENT) - {m.key for m in every}))
    (arguments.results / TABLE).write_text(judgement.table(ledger.made))
    problems = judgement.problems()
    print("\n".join(problems + judgement.counts("file", lambda m: f"core/{m.file}.py")))
    print(f"{len(problems)} problems; {arguments.results / TABLE}")
    if not finished:
        print("Interrupted; the same command continues.")
        return 130
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
