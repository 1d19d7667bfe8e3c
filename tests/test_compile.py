"""torch.compile gives the bits of eager mode, in one graph, out of generated code alone."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from calls import BINARY, CALLS, P8, P16, P32, TERNARY, bits, floats, patterns
from torch import Tensor
from torch._inductor.utils import run_and_get_code

import refnum
from refnum import Minifloat, Posit, mx, posit
from refnum.formats import Format, e4m3, parse

LENGTHS = (5, 13, 67, 1003)  #: none a multiple of a vector's length: all end in a tail

needs_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed"
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Nothing from other tests, and code generated anew even where a cache has it."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch._inductor.config.patch(fx_graph_cache=False), torch._functorch.config.patch(enable_autograd_cache=False):
        yield
    torch._dynamo.reset()


# ---- no opaque call -----------------------------------------------------------------------------------------------

#: what generated code calls besides its own kernels: memory, checks, and views
HARMLESS = {
    *("empty_strided_cpu", "assert_size_stride", "assert_alignment", "reinterpret_tensor"),
    *("args.clear", "size", "stride"),
    *("torch.ops.aten.view.dtype", "aten.view.dtype"),
    # functions of real numbers: torch's own in float64, which compiled would be others, and what decides in doubt
    *("torch.ops.refnum.estimate.default", "torch.ops.refnum.decide.default"),
}


def opaque_calls(code: str) -> list[str]:
    """The calls in a generated module's `call` that are neither its own kernels nor harmless."""
    (call,) = (n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef) and n.name == "call")
    names = [ast.unparse(node.func) for node in ast.walk(call) if isinstance(node, ast.Call)]
    harmless = HARMLESS | {name for name in names if name.split(".")[-1] in ("size", "stride")}
    return [name for name in names if not name.startswith("cpp_fused_") and name not in harmless]


def kernels(code: str) -> int:
    """How many kernels the generated module calls."""
    (call,) = (n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef) and n.name == "call")
    return sum(
        isinstance(node, ast.Call) and ast.unparse(node.func).startswith("cpp_fused_") for node in ast.walk(call)
    )


def compiled(function: Callable[..., Any], *operands: Tensor) -> tuple[Callable[..., Any], str]:
    """The function compiled for any length of these operands, and its code."""
    for x in operands:
        torch._dynamo.mark_dynamic(x, 0)
    fast = torch.compile(function, fullgraph=True)
    _, (code,) = run_and_get_code(fast, *operands)
    return fast, code


def check(function: Callable[..., Any], *operands: Tensor) -> str:
    """Compiled is eager on every length, from one graph without an opaque call; the code."""
    fast, code = compiled(function, *(x.clone() for x in operands))
    assert not opaque_calls(code)
    for length in LENGTHS:
        some = [x[:length] for x in operands]
        got, want = fast(*some), function(*some)
        for g, w in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, want)), strict=True):
            assert bits(g) == bits(w), f"length {length}"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "compiled once for all lengths"
    return code


@needs_compiler
def test_an_opaque_call_is_found() -> None:
    """The check can fail: an operation of torch.library, and one of torch that has no generated code."""
    library = torch.library.Library("refnum_compile_toy", "DEF")
    library.define("twice(Tensor x) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
    library.impl("twice", lambda x: x + x, "CompositeExplicitAutograd")
    torch.library.register_fake("refnum_compile_toy::twice", torch.empty_like, lib=library)
    _, code = compiled(lambda x: torch.ops.refnum_compile_toy.twice(x + 1).sort().values, torch.arange(40.0))
    found = opaque_calls(code)
    assert any("refnum_compile_toy.twice" in name for name in found)
    assert any("sort" in name for name in found)


# ---- the five of the default run ----------------------------------------------------------------------------------

X32, X64 = floats(torch.float32, 1, 1003), floats(torch.float64, 2, 1003)


def five(fmt: Format, dtype: torch.dtype) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """encode, decode, quantize, add and mul in one graph."""

    def function(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (
            refnum.encode(x, fmt),
            refnum.decode(a, fmt, dtype=dtype),
            refnum.quantize(x, fmt),
            posit.add(a, b, fmt),
            posit.mul(a, b, fmt),
        )

    return function


@needs_compiler
@pytest.mark.parametrize(
    ("fmt", "x"),
    [pytest.param(P16, X32, id="posit16"), pytest.param(P32, X64, id="posit32", marks=pytest.mark.slow)],
)
def test_compiled_is_eager(fmt: Posit, x: Tensor) -> None:
    check(five(fmt, x.dtype), x, patterns(fmt, 3, 1003), patterns(fmt, 4, 1003))


@needs_compiler
@pytest.mark.parametrize(
    ("fmt", "x"),
    [pytest.param(P16, X32, id="posit16", marks=pytest.mark.slow), pytest.param(P32, X64, id="posit32")],
)
def test_quantize_is_one_vectorised_kernel(fmt: Posit, x: Tensor) -> None:
    """Alone, with no 16-bit integers about, which Inductor does not vectorise: so that the tails are vectors' tails."""
    code = check(lambda t: refnum.quantize(t, fmt), x)
    assert kernels(code) == 1
    assert "at::vec::Vectorized" in code


@needs_compiler
def test_two_formats_through_one_closure() -> None:
    """Dynamo must not take n and es for sizes that vary: what it then generates is wrong."""

    def of(fmt: Posit) -> Callable[..., Any]:
        return torch.compile(lambda x: refnum.quantize(x, fmt), fullgraph=True)

    for fmt in (P16, P8):
        assert bits(of(fmt)(X32)) == bits(refnum.quantize(X32, fmt))


# ---- one graph, without generated code ----------------------------------------------------------------------------

IN_TURN = {
    "values": ("e5m2", "codebook(-1.0,0.0,1.0)", "e4m3", "posit16", "fixed(8,4)"),
    "blocks": ("mxint(8)", "block(nf4,float32,64)", "block(nf4,e8m0,32)", "nvfp4"),
}


OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 12)
FAILS_ON_BOOLS = pytest.mark.skipif(OLD, reason="before torch 2.12 torch.compile fails on a bool that varies")


@pytest.mark.parametrize("kind", [pytest.param("values", marks=FAILS_ON_BOOLS), "blocks"])
def test_formats_in_turn_through_one_function(kind: str) -> None:
    """Dynamo takes what differs from call to call for unknown: integers of records must not be."""

    def run(x: Tensor, fmt: Any) -> list[Tensor]:
        found = mx.quantize(x, fmt) if kind == "blocks" else refnum.encode(x, fmt)
        return [refnum.quantize(x, fmt), *((found.scales, found.elements) if kind == "blocks" else (found,))]

    traced = torch.compile(run, fullgraph=True, backend="eager")
    x = torch.randn(8, 128, generator=torch.Generator().manual_seed(5))
    for fmt in map(parse, IN_TURN[kind]):
        assert list(map(bits, traced(x, fmt))) == list(map(bits, run(x, fmt))), fmt


ONE_OF_EACH = {
    call.covers: call for call in reversed(CALLS) if call.elementwise and not call.covers.startswith("Quire")
}


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH))
def test_every_elementwise_operation_is_one_graph(name: str) -> None:
    """No Python branch looks at the data."""
    call = ONE_OF_EACH[name]
    traced = torch.compile(call.run, fullgraph=True, backend="eager")
    assert bits(traced(*call.operands)) == bits(call())


def test_a_branch_on_the_data_is_found() -> None:
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(lambda x: x + 1 if x.sum() > 0 else x, fullgraph=True, backend="eager")(torch.ones(3))


@pytest.mark.parametrize("grad", ["identity", "clipped"])
def test_the_gradient_of_quantize_is_traced(grad: str) -> None:
    x, y = (X32[:200].clone().requires_grad_() for _ in range(2))
    traced = torch.compile(lambda t: refnum.quantize(t, P8, grad=grad), fullgraph=True, backend="aot_eager")
    upstream = torch.arange(200.0)
    traced(x).backward(upstream)
    refnum.quantize(y, P8, grad=grad).backward(upstream)
    assert bits(x.grad) == bits(y.grad)


@pytest.mark.parametrize("rounding", ["nearest_away", "toward_positive", "to_odd", "stochastic"])
def test_roundings_by_name_are_traced(rounding: str) -> None:
    random_bits = torch.arange(1003) * 97 if rounding == "stochastic" else None

    def function(x: Tensor, r: Tensor | None) -> tuple[Tensor, Tensor]:
        return tuple(refnum.encode(x, fmt, rounding=rounding, random_bits=r) for fmt in (P16, e4m3))

    traced = torch.compile(function, fullgraph=True, backend="eager")
    assert [bits(x) for x in traced(X32, random_bits)] == [bits(x) for x in function(X32, random_bits)]


# ---- the rest, by and by ------------------------------------------------------------------------------------------


class Alone(NamedTuple):
    """An operation compiled by itself."""

    name: str
    run: Callable[..., Tensor]
    operands: tuple[Tensor, ...]


def alone() -> Iterator[Alone]:
    """Every elementwise operation once, arithmetic in two words, and the codec and two operations in more formats."""
    in_two_words = {f"posit.{name} posit64" for name in (*BINARY, *TERNARY, "sqrt", "nearest_int")}
    for call in (*ONE_OF_EACH.values(), *(call for call in CALLS if call.name in in_two_words)):
        yield Alone(call.name, call.run, tuple(x.repeat(9)[:1003] for x in call.operands))
    for fmt in (P8, Posit(24, 1), Posit(27), Posit(33), Posit(64, 4)):
        a, b = patterns(fmt, 7, 1003), patterns(fmt, 8, 1003)
        yield Alone(f"encode {fmt}", lambda x, fmt=fmt: refnum.encode(x, fmt), (X32,))
        yield Alone(f"quantize {fmt}", lambda x, fmt=fmt: refnum.quantize(x, fmt), (X64,))
        yield Alone(f"add {fmt}", lambda a, b, fmt=fmt: posit.add(a, b, fmt), (a, b))
        yield Alone(f"mul {fmt}", lambda a, b, fmt=fmt: posit.mul(a, b, fmt), (a, b))
    for fmt in (e4m3, Minifloat(3, 2, overflow="inf"), refnum.formats.float16):
        yield Alone(f"encode {fmt}", lambda x, fmt=fmt: refnum.encode(x, fmt), (X32,))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("case", list(alone()), ids=lambda case: case.name)
def test_compiled_alone_is_eager(case: Alone) -> None:
    check(case.run, *case.operands)
