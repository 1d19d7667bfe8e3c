"""The conformance suite: every public function has a row, refnum passes a cut of the plan, what is wrong is found."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from refnum_conformance import exhaustive, inputs, plan, report, runner, target, vectors
from refnum_conformance.__main__ import main
from refnum_conformance.ledger import Ledger
from refnum_conformance.operations import BY_NAME, FLOATS, OPERATIONS, ROUNDINGS, canonical, holding, keeping
from refnum_conformance.oracles import block_rows, blocks, minifloat, posit
from refnum_conformance.oracles.minifloat import Row
from refnum_conformance.oracles.reals import Dyadic, Quotient, Real, plus, times
from refnum_conformance.plan import Amount, Job, jobs
from refnum_conformance.runner import Verdict, check, knowing
from refnum_conformance.sources import SOURCES
from refnum_conformance.xfails import Xfails

import refnum

RESULTS = Path(__file__).parents[1] / "conformance" / "results"
TINY = Amount(samples=48, variant=16, every=False)
PLAN = [job for job in jobs(TINY, seed=1) if job.want is None]
GOLDEN = {job.id: job for job in plan.golden()}
CUT = 6  #: of the jobs of a row, so many are run here, spread over its formats and options


def _jobs(row: str) -> list[Job]:
    return [job for job in PLAN if job.op.name == row]


def _job(row: str, **options: Any) -> Job:
    return next(job for job in _jobs(row) if options.items() <= job.options.items())


# The table -----------------------------------------------------------------------------------------------------------


SHUFFLES = ("shuffle", "shuffle_weight", "shuffle_scale")
#: public functions that need no oracle, and the tests that compare them with recorded vectors, or with their own rows
WITHOUT_A_ROW = {
    **dict.fromkeys(("mx.pack4", "mx.unpack4", "mx.pack6", "mx.unpack6"), "test_mx_packing"),
    **{f"mx.{way}{name}": "test_mx_layouts" for name in SHUFFLES for way in ("", "un")},
    **dict.fromkeys(("mx.to_blocked", "mx.from_blocked"), "test_mx_layouts"),
    "mx.random_bits": "test_mx_philox",
    **dict.fromkeys(("mx.pack_mxint8", "mx.unpack_mxint8"), "test_mx_families"),
    **dict.fromkeys(("mx.tensor_scale", "mx.hadamard"), "test_mx_dialects"),
    "scaled_mm": "test_sums_scaled",  # mx_mm with other arguments
    **dict.fromkeys(("row_parallel_mm", "column_parallel_mm"), "worlds"),
    **dict.fromkeys(("status", "use_backend"), "test_backend"),
}


def _public() -> set[str]:
    rooms = {"": refnum, "posit.": refnum.posit, "mx.": refnum.mx, "functions.": refnum.functions}
    named = ((f"{room}{name}", getattr(module, name)) for room, module in rooms.items() for name in module.__all__)
    methods = inspect.getmembers(refnum.Quire, callable)
    quires = {f"Quire.{name}" for name, _ in methods if not name.startswith("_")}
    return quires | {name for name, value in named if inspect.isfunction(value)}


def _rows() -> set[str]:
    return {op.public for op in OPERATIONS}


def test_every_public_function_has_a_row_and_every_row_a_function() -> None:
    assert _rows() | WITHOUT_A_ROW.keys() == _public()
    assert not _rows() & WITHOUT_A_ROW.keys()


@pytest.mark.parametrize(("function", "tests"), WITHOUT_A_ROW.items())
def test_functions_without_a_row_are_tested_elsewhere(function: str, tests: str) -> None:
    name, text = function.removeprefix("mx."), (Path(__file__).parent / f"{tests}.py").read_text()
    assert re.search(rf"\b{name}\(", text)


def test_a_public_function_without_a_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refnum.posit, "__all__", [*refnum.posit.__all__, "cube"])
    monkeypatch.setattr(refnum.posit, "cube", lambda a, fmt: a, raising=False)
    monkeypatch.setattr(refnum.Quire, "halve", lambda self: self, raising=False)
    assert _public() - _rows() - WITHOUT_A_ROW.keys() == {"posit.cube", "Quire.halve"}


def test_the_rows_are_those_of_the_default_target() -> None:
    assert all(inspect.isfunction(getattr(target, op.name)) for op in OPERATIONS)
    assert len(BY_NAME) == len(OPERATIONS)
    assert all(op.ulp == 0 or op.why for op in OPERATIONS)


def test_a_row_may_allow_some_distance() -> None:
    loose = replace(_job("sqrt", n=16), op=replace(BY_NAME["sqrt"], ulp=1, why="for this test"))
    assert not check(loose, SimpleNamespace(sqrt=lambda a, n, es: target.sqrt(a, n=n, es=es) ^ 1)).mismatches
    assert check(loose, SimpleNamespace(sqrt=lambda a, n, es: target.sqrt(a, n=n, es=es) ^ 2)).mismatches


def test_every_profile_of_blocks_is_asked_for_by_every_rule() -> None:
    asked = {(j.options["fmt"], j.options["profile"], j.options.get("scale")) for j in _jobs("mx_quantize")}
    mx = {name for name, fmt in blocks.FORMATS.items() if fmt.scale == blocks.E8M0}
    rules = {(profile, rule) for profile, row in blocks.PROFILES.items() for rule in row.rules}
    wanted = {(fmt, *rule) for fmt in mx for rule in rules} | {("nvfp4", profile, None) for profile in blocks.NVFP4}
    assert asked == wanted
    roundings = {(job.options["fmt"], job.options["rounding"]) for job in _jobs("mx_quantize")}
    assert roundings == {(fmt, rounding) for fmt in blocks.FORMATS for rounding in ROUNDINGS}


def test_what_is_not_compared_of_blocks() -> None:
    found = np.array([[255, 1, 2], [127, 0, 8]])
    ocp, microxcaling = ({"fmt": "mxfp4", "profile": f"{profile}/v1"} for profile in ("ocp", "microxcaling"))
    assert canonical(BY_NAME["mx_quantize"], found, ocp).tolist() == [[255, 0, 0], [127, 0, 8]]
    assert canonical(BY_NAME["mx_quantize"], found, microxcaling).tolist() == [[255, 0, 0], [127, 0, 0]]
    values = np.array([[0x7FC1, -0x8000, -1, 0x3F80]])
    options = {"dtype": "float32", "to_dtype": "bfloat16"}
    assert canonical(BY_NAME["mx_fake_quantize"], values, options | ocp).tolist() == [[0x7FC0, -0x8000, 0x7FC0, 0x3F80]]
    assert canonical(BY_NAME["mx_fake_quantize"], values, options | microxcaling)[0, 1] == 0


def test_which_dtypes_hold_a_format() -> None:
    assert holding({"n": 16, "es": 2}) == ("float32", "float64")
    assert holding({"n": 32, "es": 2}) == ("float64",)
    assert holding({"n": 64, "es": 2}) == ()
    assert keeping({"n": 32, "es": 2}) == ("bfloat16", "float32", "float64")
    assert holding(Row(4, 3, 7, "fn")._asdict()) == tuple(FLOATS)


def test_nans_are_one_and_texts_are_what_they_read_back_as() -> None:
    fmt = {"n": 8, "es": 2}
    nans = np.array([0x7E01, 0x7C01, 0x7C00, -0x3FF])
    got = canonical(BY_NAME["to_float"], nans, fmt | {"dtype": "float16"})
    assert got.tolist() == [0x7E00, 0x7E00, 0x7C00, 0x7E00]
    texts = np.array(["1.125", "1.1", "x"], object)
    assert canonical(BY_NAME["to_decimal"], texts, fmt).tolist() == [0x41, 0x41, "x"]


# refnum --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", list(BY_NAME))
def test_refnum_conforms(row: str) -> None:
    found = _jobs(row)
    for job in found[:: max(1, len(found) // CUT)]:
        verdict = check(job, target)
        assert not verdict.failed, "\n".join(report.sentences([verdict]))
        assert verdict.outcomes
        assert verdict.outcomes[0].source == "oracle"


GOLDEN_ROWS = ["add", "mul", "div", "sqrt", "fma", "convert", "encode", "quire_dot", "mx_quantize", "mx_fake_quantize"]
GOLDEN_ROWS += ["gemm_chain_add", "gemm_tensorcore_add"]


@pytest.mark.parametrize("row", GOLDEN_ROWS)
def test_refnum_gives_the_golden_vectors(row: str) -> None:
    verdicts = [check(job, target) for job in GOLDEN.values() if job.op.name == row]
    assert not list(report.sentences([verdict for verdict in verdicts if verdict.failed]))
    assert sum(outcome.cases for verdict in verdicts for outcome in verdict.outcomes) > 500


# Wrong targets are found out -----------------------------------------------------------------------------------------


def _values(a: int, b: int, n: int, es: int) -> tuple[Dyadic, Dyadic] | None:
    x, y = posit.value(a, n, es), posit.value(b, n, es)
    return None if x is None or y is None else (x, y)


def _sum(a: int, b: int, n: int, es: int) -> Real | None:
    pair = _values(a, b, n, es)
    return pair and plus(*pair)


def _product(a: int, b: int, n: int, es: int) -> Real | None:
    pair = _values(a, b, n, es)
    return pair and times(*pair)


def _quotient(a: int, b: int, n: int, es: int) -> Real | None:
    pair = _values(a, b, n, es)
    return pair and (Quotient(pair[0].m, pair[1].m, pair[0].e - pair[1].e) if pair[1].m else None)


def _right(x: Real, n: int, es: int) -> int:
    return posit.rounded(x, n, es)


def _truncated(x: Real, n: int, es: int) -> int:
    return posit.rounded(x, n, es, "toward_zero")


def _ties_away(x: Real, n: int, es: int) -> int:
    return posit.rounded(x, n, es, "nearest_away")


def _without_sticky(x: Real, n: int, es: int) -> int:
    if x.sign == 0:
        return 0
    significand, exponent, _ = x.leading(n)
    extra = max(0, significand.bit_length() - n)
    return posit.rounded(Dyadic((significand >> extra) * x.sign, exponent + extra), n, es)


def _rounded_twice(x: Real, n: int, es: int) -> int:
    longer = posit.rounded(x, n + 3, es)
    return posit.convert(longer, n + 3, es, n, es)


def _wrong(exact: Callable[..., Real | None], rounding: Callable[..., int]) -> Callable[..., list[int]]:
    def row(a: Any, b: Any, n: int, es: int) -> list[int]:
        results = (exact(x, y, n, es) for x, y in zip(a.tolist(), b.tolist(), strict=True))
        return [posit.nar(n) if x is None else rounding(x, n, es) for x in results]

    return row


ARITHMETIC = {"add": _sum, "mul": _product, "div": _quotient}


@pytest.mark.parametrize("rounding", [_truncated, _ties_away, _without_sticky, _rounded_twice])
@pytest.mark.parametrize("row", list(ARITHMETIC))
def test_a_planted_rounding_is_reported_with_operands(row: str, rounding: Callable[..., int]) -> None:
    options = {"n": 16, "es": 2}
    job = Job(BY_NAME[row], options, "", "samples", lambda: inputs.columns(BY_NAME[row], options, 2000, 0))
    assert not check(job, SimpleNamespace(**{row: _wrong(ARITHMETIC[row], _right)})).failed
    verdict = check(job, SimpleNamespace(**{row: _wrong(ARITHMETIC[row], rounding)}))
    assert verdict.mismatches
    (oracle, *_) = verdict.outcomes
    assert oracle.shown[0].startswith(f"{row}(0x")
    assert "in posit(16,2): 0x" in oracle.shown[0]
    assert "oracle 0x" in oracle.shown[0]


def _of_cases(row: str, function: Callable[..., Any]) -> SimpleNamespace:
    """A target with one row, case by case."""

    def columns(*operands: Any, **options: Any) -> list[Any]:
        return [function(*case, **options) for case in zip(*(x.tolist() for x in operands), strict=True)]

    return SimpleNamespace(**{row: columns})


def _with(right: Callable[..., Any], **changed: str) -> Callable[..., Any]:
    """The oracle's function with other options."""
    return lambda *case, **options: right(*case, **{**options, **changed})


def _without_minus_zero(x: Any, **options: Any) -> list[int]:
    scale, *codes = block_rows.quantize(x, **options)
    return [scale, *(0 if code == 8 else code for code in codes)]


def _infinity_is_large(x: list[int], **options: Any) -> list[int]:
    return block_rows.quantize([u - 1 if u & 0x7FFFFFFF == 0x7F800000 else u for u in x], **options)


def _without_subnormals(block: list[int], **options: Any) -> list[int]:
    return [u if u & 0x7F800000 else 0 for u in block_rows.dequantize(block, **options)]


def _bfloat16(bits: int) -> int:
    return posit.signed(minifloat.encode(*minifloat.decode(bits, FLOATS["float32"]), FLOATS["bfloat16"]), 16)


def _rounded_twice_to_bfloat16(a: Any, b: Any, **options: Any) -> list[list[int]]:
    return [[_bfloat16(u) for u in row] for row in block_rows.exact_mm(a, b, **{**options, "dtype": "float32"})]


def _bias_in_bfloat16(a: Any, b: Any, bias: list[list[int]], **options: Any) -> list[list[int]]:
    return block_rows.exact_mm(a, b, [[_bfloat16(u) << 16 for u in row] for row in bias], **options)


def _without_the_sign_of_zeros(a: Any, b: Any, **options: Any) -> list[list[int]]:
    return [[u if u & 0x7FFFFFFF else 0 for u in row] for row in block_rows.exact_mm(a, b, **options)]


NEAREST = {"profile": "ocp/v1", "rounding": "nearest_even", "dtype": "float32"}
PLANTED: dict[str, tuple[str, dict[str, Any], Callable[..., Any]]] = {
    "ties away": ("mx_quantize", NEAREST, _with(block_rows.quantize, rounding="nearest_away")),
    "floor": ("mx_quantize", NEAREST | {"scale": "even"}, _with(block_rows.quantize, scale="floor")),
    "ceil": ("mx_quantize", NEAREST | {"scale": "rceil"}, _with(block_rows.quantize, scale="ceil")),
    "another profile": ("mx_quantize", NEAREST | {"scale": "even"}, _with(block_rows.quantize, profile="torchao/v1")),
    "no -0": ("mx_quantize", NEAREST, _without_minus_zero),
    "Inf": ("mx_quantize", NEAREST, _infinity_is_large),
    "no random bits": (
        "mx_quantize",
        {"profile": "ocp/v1", "rounding": "stochastic"},
        lambda x, random_bits, **options: block_rows.quantize(x, **options),
    ),
    "subnormals": ("mx_dequantize", {"dtype": "float32"}, _without_subnormals),
    "twice": ("mx_mm_exact", {"dtype": "bfloat16"}, _rounded_twice_to_bfloat16),
    "a chain": ("mx_mm_exact", {"dtype": "float32"}, block_rows.chain_mm),
    "no chain": ("mx_mm_chain_add", {"dtype": "bfloat16"}, block_rows.exact_mm),
    "bias": ("mx_mm_exact_add", {"dtype": "bfloat16"}, _bias_in_bfloat16),
    "zeros": ("mx_mm_exact", {"dtype": "float32"}, _without_the_sign_of_zeros),
}


@pytest.mark.parametrize(("row", "options", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_in_blocks_is_reported_with_operands(
    row: str, options: dict[str, Any], wrong: Callable[..., Any]
) -> None:
    job = _job(row, fmt="mxfp4", **options)
    job = replace(job, operands=lambda: inputs.columns(job.op, job.options, 2000, 0))

    assert not check(job, _of_cases(row, job.op.oracle)).failed
    verdict = check(job, _of_cases(row, wrong))
    assert verdict.mismatches
    assert verdict.outcomes[0].shown[0].startswith(f"{row}([")
    assert "in mxfp4" in verdict.outcomes[0].shown[0]
    assert "oracle [" in verdict.outcomes[0].shown[0]


def test_every_function_that_is_off_by_one_is_found() -> None:
    unfound = []
    for op in OPERATIONS:
        right = getattr(target, op.name)

        def wrong(*operands: Any, right: Callable[..., Any] = right, text: bool = op.out == "t", **options: Any) -> Any:
            result = right(*operands, **options)
            return ["1" + x for x in result] if text else np.asarray(result) ^ 1

        found = _jobs(op.name)
        job = found[len(found) // 3]
        if not check(job, SimpleNamespace(**{op.name: wrong})).failed:
            unfound.append(op.name)
    assert unfound == []


def test_a_missing_function_is_a_listed_skip() -> None:
    verdict = check(_job("mul"), SimpleNamespace())
    assert verdict.skipped == "the target has no such function"
    assert not verdict.failed


def _raising(a: Any, b: Any, n: int, es: int) -> Any:
    raise ZeroDivisionError("no")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda a, n, es: a, "wrong signature: mul(a, n, es) cannot be called as mul(<p>, <p>, n=, es=)"),
        (lambda a, b, n: a, "wrong signature"),
        (lambda a, b, n, es: a.astype(float), "mul returned float64; results are bits, that is integers"),
        (lambda a, b, n, es: a[:-1], "mul returned ("),
        (_raising, "ZeroDivisionError: no"),
    ],
)
def test_what_cannot_be_called_is_an_error(function: Callable[..., Any], words: str) -> None:
    verdict = check(_job("mul"), SimpleNamespace(mul=function))
    assert verdict.failed
    assert words in verdict.error


def test_a_result_of_another_shape_is_a_mismatch() -> None:
    verdict = check(_job("quire_negate"), SimpleNamespace(quire_negate=lambda a, b, n, es, doublings: a[:, :1]))
    assert "gave the shape" in verdict.outcomes[0].shown[0]


# Sources -------------------------------------------------------------------------------------------------------------


def _names(job: Job) -> list[str]:
    return [source.name for source in SOURCES if source.covers(job.op, job.options)]


def test_who_is_asked() -> None:
    assert _names(_job("mul", n=32, es=2)) == ["oracle", "softposit"]
    assert _names(_job("fma", n=32, es=2)) == ["oracle"]
    assert _names(_job("encode", n=16, es=2, rounding="nearest_even")) == ["oracle", "softposit"]
    assert _names(_job("encode", n=16, es=2, rounding="to_odd")) == ["oracle"]
    nearest = {"row": "minifloat_encode", "rounding": "nearest_even"}
    assert _names(_job(**nearest, dtype="float32")) == ["oracle", "ml_dtypes", "gfloat"]
    assert _names(_job(**nearest, dtype="float64")) == ["oracle", "gfloat"]
    assert {source.name for source in knowing(_job("mul", n=32, es=2))} <= {"oracle", "softposit"}


# Golden vectors ------------------------------------------------------------------------------------------------------


def test_vectors_that_do_not_fit_together_are_refused() -> None:
    four = {"rows": np.arange(3, dtype=np.uint8), "add": np.zeros((3, 15), np.uint8)}
    with pytest.raises(vectors.VectorError, match=r"add in posit\(4,0\) has operands \(3, 16\), \(3, 16\) and results"):
        list(vectors._exhaustive(4, 0, four))
    with pytest.raises(vectors.VectorError, match="no row of the operations table"):
        list(vectors._exhaustive(4, 0, four | {"add": np.zeros((3, 16), np.uint8), "cosine": np.zeros(3, np.uint8)}))
    with pytest.raises(vectors.VectorError, match=r"There is no other\.npz"):
        vectors.load("other")


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command in one process, with a target in a file of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(report, "RICH", False)

    def run(source: str | None, *words: str) -> int:
        if source is not None:
            (tmp_path / f"aim_{tmp_path.name}.py").write_text(source)
        sys.modules.pop(f"aim_{tmp_path.name}", None)
        where = ("--target", f"aim_{tmp_path.name}", "--ledger", str(tmp_path), "--workers", "1", "--quick")
        return main([*where, *words])

    return run


GOOD = "from refnum_conformance.target import next, prior\n__version__ = '7'\n"
BAD = "def next(a, n, es): return a\n"


def test_the_table(command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept = tmp_path / "table.md"
    assert command(GOOD, "--only", "next", "mul", "--seed", "3", "--record", str(kept)) == 0
    printed = capsys.readouterr().out
    wanted = f"refnum {refnum.__version__} | target aim_{tmp_path.name} 7 | backend reference | seed 3 | "
    assert printed.startswith(wanted)
    assert "function  format" in printed
    assert "skipped mul: the target has no such function" in printed
    assert ", 0 unexplained mismatches" in printed
    assert "| next | n = 16, samples | oracle | " in kept.read_text()
    assert "- sources: " in kept.read_text()
    recorded = json.loads(kept.with_suffix(".json").read_text())
    assert recorded["header"].startswith(wanted)
    assert report.markdown(recorded) == kept.read_text()
    assert f"\n{sum(line['cases'] for line in recorded['lines']):,} cases, 0 unexplained mismatches\n" in printed


@pytest.mark.parametrize("path", sorted(RESULTS.glob("conformance*.md")), ids=lambda path: path.stem)
def test_the_records_say_the_same_as_their_numbers(path: Path) -> None:
    assert report.markdown(json.loads(path.with_suffix(".json").read_text())) == path.read_text()


def test_mismatches_are_printed_and_counted(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(BAD, "--only", "next") == 1
    assert "next(0x" in capsys.readouterr().out


def test_expected_failures(command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    known = tmp_path / "known.txt"
    known.write_text("# of this target\nnext[*]  stands still\nnothing[*]  was renamed\n")
    assert command(BAD, "--only", "next", "--xfails", str(known)) == 0
    printed = capsys.readouterr().out
    assert "expected failure next[*] in next, n = 16, samples: stands still" in printed
    assert "warning: 'nothing[*]' in the file of expected failures matches nothing" in printed
    assert command(GOOD, "--only", "next", "--xfails", str(known)) == 1
    assert "expected to fail and passes: next[*] in next, n = 16, samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "cosine"), "There is no row 'cosine'. Choose among negate, abs,"),
        (("--target", "no_such_module"), "The target 'no_such_module' cannot be imported"),
        (("--xfails", "no_such_file"), "No such file"),
    ],
)
def test_what_cannot_run(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert command(GOOD, *words) == 2
    assert message in capsys.readouterr().err


def test_expected_failures_need_a_reason(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("next[*]\n")
    with pytest.raises(ValueError, match=r"known\.txt:1 has no reason"):
        Xfails.read(tmp_path / "known.txt")


STOPPING = """
from pathlib import Path
here = Path(__file__).parent
def prior(a, n, es):
    from refnum_conformance import target
    with (here / "calls").open("a") as file:
        file.write("x")
    if (here / "stop").exists() and len((here / "calls").read_text()) == 9:
        raise KeyboardInterrupt
    return target.prior(a, n=n, es=es)
"""


def test_an_interrupted_run_continues(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls, stop = tmp_path / "calls", tmp_path / "stop"
    stop.touch()
    assert command(STOPPING, "--only", "prior") == 130
    assert "Interrupted after 8 of" in capsys.readouterr().out
    stop.unlink()
    (ledger,) = tmp_path.glob("run-*.jsonl")
    ledger.write_text(ledger.read_text() + '{"id": "prior[')  # as if killed while writing
    assert command(None, "--only", "prior") == 0
    printed = capsys.readouterr().out
    assert "Continuing: 8 of" in printed
    assert ", 0 unexplained mismatches" in printed
    whole = sum(job.op.name == "prior" for job in jobs(plan.QUICK, 0))
    assert len(calls.read_text()) == whole + 1  # the interrupted call, again
    assert not list(tmp_path.glob("run-*"))


def test_fresh_starts_again_and_other_code_does_not_continue(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "stop").touch()
    for source, words, said in (
        (STOPPING, (), ""),
        (STOPPING, ("--fresh",), ""),
        (STOPPING + "# changed\n", (), "Starting again: code or versions have changed"),
    ):
        (tmp_path / "calls").write_text("")
        assert command(source, "--only", "prior", *words) == 130
        printed = capsys.readouterr().out
        assert "Continuing" not in printed
        assert said in printed


def test_the_ledger_gives_verdicts_back(tmp_path: Path) -> None:
    asked, verdict = {"seed": 1}, check(_job("mul", n=16), target)
    Ledger.open(tmp_path, asked, {"refnum": "1"}, fresh=True).add(verdict)
    again = Ledger.open(tmp_path, asked, {"refnum": "1"}, fresh=False)
    assert again.verdicts == {verdict.id: verdict}
    assert Ledger.open(tmp_path, {"seed": 2}, {"refnum": "1"}, fresh=False).verdicts == {}
    assert Ledger.open(tmp_path, asked, {"refnum": "2"}, fresh=False).outdated
    assert Verdict.from_json(json.loads(json.dumps(verdict.as_json()))) == verdict


def test_exhaustive_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(exhaustive, "main", lambda argv: seen.append(argv) or 5)
    assert main(["--exhaustive", "--only", "mul"]) == 5
    assert seen == [["--only", "mul"]]


def test_two_processes_reach_the_verdicts_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for workers in ("1", "2"):
        assert main(["--quick", "--only", "sign", "--workers", workers, "--ledger", str(tmp_path)]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]


# The plugin ----------------------------------------------------------------------------------------------------------


def _pytest(folder: Path, *words: str) -> str:
    paths = (folder, Path(refnum.__file__).parents[1], Path(target.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    arguments = ["-p", "refnum_conformance.plugin", "-p", "no:cacheprovider", "--rootdir", str(folder), "-rA"]
    run = [sys.executable, "-m", "pytest", *arguments, *words, "--pyargs", "refnum_conformance.test_rows"]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_rows_as_tests_of_any_target(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BAD + "from refnum_conformance.target import prior, sign\n__version__ = '2'\n")
    (tmp_path / "known.txt").write_text("next[posit(16,*] stands still\nsign[*] once wrong\nlast[*] gone\n")
    rows = "(next or prior or sign or mul) and 16"
    printed = _pytest(tmp_path, "--refnum-target", "mine", "--refnum-xfails", "known.txt", "-k", rows)
    assert "| target mine 2 | backend reference | seed 0" in printed
    assert "XFAIL ::test_row[next: n = 16, samples]" in printed
    assert "PASSED ::test_row[prior: n = 16, samples]" in printed
    assert "FAILED ::test_row[sign: n = 16, samples] - Failed: expected to fail and passes" in printed
    assert "the target has no such function" in printed
    assert "'last[*]' in the file of expected failures matches nothing" in printed


def test_a_misspelt_target_stops_pytest(tmp_path: Path) -> None:
    assert "ERROR: The target 'mime' cannot be imported" in _pytest(tmp_path, "--refnum-target", "mime")


def test_the_plugin_imports_nothing_large() -> None:
    code = "import sys, refnum_conformance.plugin; print(sorted({'torch', 'numpy', 'refnum'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(target.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Words ---------------------------------------------------------------------------------------------------------------


def test_the_format_of_a_job_and_its_id() -> None:
    assert plan.describe({"n": 16, "es": 1}) == "posit(16,1)"
    assert len({job.id for job in PLAN}) == len(PLAN)
    assert all(" " not in job.id for job in (*PLAN, *GOLDEN.values()))
    assert runner._word("v", np.array([-1, 1]), {"n": 12}) == "[0xfff, 0x001]"
    assert runner._word("k", np.array([127, 9]), {"fmt": "mxfp4"}) == "[0x7f, 0x09]"
    assert _job("mx_mm_exact", fmt="nvfp4", b_fmt="mxfp6_e2m3").id.startswith("mx_mm_exact[nvfp4_by_mxfp6_e2m3-dtype=")
