"""Bits do not depend on ambient state: one call of every operation under every setting, layout, length and position."""

from __future__ import annotations

import ctypes
import decimal
import inspect
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from calls import CALLS, COUNT, ELEMENTARY, GRADIENTS, Call, bits, digest, floats, served, whole
from torch import Tensor

import refnum
from refnum import Quire, functions, mx, posit
from refnum.boundary import FLOAT_ROWS
from refnum.fast.chunks import CHUNK

HERE = Path(__file__).parent


# ---- settings -----------------------------------------------------------------------------------------------------


@contextmanager
def switched(get: Callable[[], Any], put: Callable[[Any], Any], value: Any) -> Iterator[None]:
    """A setting at another value, and back."""
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def _attribute(owner: Any, name: str, value: Any) -> AbstractContextManager[None]:
    return switched(lambda: getattr(owner, name), lambda x: setattr(owner, name, x), value)


def _flushing() -> AbstractContextManager[None]:
    return switched(lambda: False, torch.set_flush_denormal, True)


def _default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    return switched(torch.get_default_dtype, torch.set_default_dtype, dtype)


class Setting(NamedTuple):
    """A setting, and an operation that would depend on it."""

    name: str
    on: Callable[[], AbstractContextManager[Any]]
    toy: Callable[[Tensor], Any]
    gradients: bool = True  #: whether gradients exist under it


SETTINGS = (
    Setting("default dtype float64", lambda: _default_dtype(torch.float64), lambda x: x + torch.full((1,), 0.1)),
    Setting("default dtype float16", lambda: _default_dtype(torch.float16), lambda x: x + torch.full((1,), 0.1)),
    Setting("default device meta", lambda: torch.device("meta"), lambda x: x + torch.ones(x.shape)),
    Setting(
        "float32 matmul precision",
        lambda: switched(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
        lambda x: torch.get_float32_matmul_precision(),  # its effect hangs on the CPU
    ),
    Setting(
        "TF32 in matmul",
        lambda: _attribute(torch.backends.cuda.matmul, "allow_tf32", not torch.backends.cuda.matmul.allow_tf32),
        lambda x: str(torch.backends.cuda.matmul.allow_tf32),
    ),
    Setting(
        "TF32 in convolutions",
        lambda: _attribute(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
        lambda x: str(torch.backends.cudnn.allow_tf32),
    ),
    Setting("flush denormal", _flushing, lambda x: x * 1.0),
    Setting("autocast", lambda: torch.autocast("cpu", torch.bfloat16), lambda x: whole(0, 9, 9) @ whole(1, 9, 9)),
    Setting("inference mode", torch.inference_mode, lambda x: str(x.clone().is_inference()), gradients=False),
    Setting("no grad", torch.no_grad, lambda x: str((x * x.clone().requires_grad_()).requires_grad), gradients=False),
    Setting(
        "deterministic algorithms",
        lambda: switched(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True),
        lambda x: str(torch.are_deterministic_algorithms_enabled()),
    ),
    Setting(
        "threads",
        lambda: switched(torch.get_num_threads, torch.set_num_threads, 2),
        lambda x: str(torch.get_num_threads()),
    ),
    Setting("seed", lambda: torch.random.fork_rng(devices=[]), lambda x: x + torch.rand(x.shape)),
    Setting(
        "decimal context",
        lambda: decimal.localcontext(prec=2, rounding=decimal.ROUND_UP),
        lambda x: str(decimal.Decimal(1) / 3),
    ),
    Setting("backend by name", lambda: refnum.use_backend("reference"), lambda x: str(refnum.status())),
)


def clear_caches() -> None:
    """Forget the tables that earlier calls have made, so that the next ones are made under the setting."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "refnum":
            for value in vars(module).values():
                getattr(value, "cache_clear", lambda: None)()


@cache
def _expected() -> dict[str, tuple[Any, ...]]:
    """The results where nothing has been set."""
    return {call.name: bits(call()) for call in (*CALLS, *GRADIENTS)}


def _outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    try:
        return bits(call())
    except (RuntimeError, NotImplementedError) as error:
        return (repr(error),)


def _moved(calls: tuple[Call, ...]) -> dict[str, tuple[Any, ...]]:
    """The calls whose result is not what it was, with what came instead."""
    outcomes = {call.name: _outcome(call) for call in calls}
    return {name: outcome for name, outcome in outcomes.items() if outcome != _expected()[name]}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with switched(torch.get_num_threads, torch.set_num_threads, 1):
        yield


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_no_result_depends_on(setting: Setting) -> None:
    calls = (*CALLS, *GRADIENTS) if setting.gradients else CALLS
    _expected()
    clear_caches()
    with setting.on():
        assert not _moved(calls)
    assert not _moved((*CALLS, *GRADIENTS)), "with tables made under the setting"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_an_operation_that_depends_on_it_is_caught(setting: Setting) -> None:
    x = floats(torch.float32, 23)
    before = _outcome(lambda: setting.toy(x))
    with setting.on():
        inside = _outcome(lambda: setting.toy(x))
    assert inside != before
    if setting.name != "seed":
        assert _outcome(lambda: setting.toy(x)) == before, "the setting was not restored"


def test_no_operation_draws_random_numbers() -> None:
    before = torch.get_rng_state()
    for call in (*CALLS, *GRADIENTS):
        call()
    assert torch.equal(torch.get_rng_state(), before)


def test_no_operation_changes_its_operands() -> None:
    for call in (*CALLS, *GRADIENTS):
        before = [x.clone() for x in call.operands]
        call()
        assert [bits(x) for x in call.operands] == [bits(x) for x in before], call.name


# ---- the table is complete ----------------------------------------------------------------------------------------


def public_operations() -> set[str]:
    """Everything that computes, by its public name."""
    homes = ("codec", "ops", "values")  # rooms whose exported names are all functions
    plain = {name for name, home in refnum._HOMES.items() if home in homes}
    of_quire = {name for name, value in vars(Quire).items() if not name.startswith("_") and callable_of(value)}
    of_blocks = {f"mx.{name}" for name in mx.__all__ if inspect.isfunction(getattr(mx, name))}
    of_posits = {f"posit.{name}" for name in posit.__all__ if name != "Quire"}
    of_reals = {f"functions.{name}" for name in functions.__all__}
    over_ranks = {"row_parallel_mm", "column_parallel_mm"}  # which need a process group: test_distributed
    return plain - over_ranks | of_blocks | of_posits | of_reals | {f"Quire.{name}" for name in of_quire}


def callable_of(value: object) -> bool:
    """Whether a class attribute is a method of any kind."""
    return inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod))


def test_every_public_operation_has_a_call() -> None:
    assert {call.covers for call in CALLS} == public_operations()


def _says_little(result: Any) -> bool:
    """Whether a result is the same nearly everywhere, so that it would hardly show a difference."""
    if not isinstance(result, Tensor) or result.numel() == 1:
        return False
    counts = torch.unique(result.double().nan_to_num(1.5), return_counts=True)[1]
    return bool(counts.max() > 0.8 * result.numel())


def test_every_call_says_something() -> None:
    assert [call.name for call in (*CALLS, *GRADIENTS) if _says_little(call())] == ["Quire.clear"]


# ---- the CPU ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_no_result_depends_on_the_cpu_capability(capability: str) -> None:
    if served() == capability:
        pytest.skip("it is what all other tests run with")
    path = os.pathsep.join([str(Path(refnum.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability, "PYTHONPATH": path}
    script = [sys.executable, str(HERE / "calls.py")]
    output = subprocess.run(script, env=environment, capture_output=True, text=True, check=True, cwd=HERE.parent).stdout
    found, *lines = output.splitlines()
    if found != capability:
        pytest.skip(f"this CPU serves {found} when asked for {capability}")
    assert lines == [f"{call.name}: {digest(call())}" for call in (*CALLS, *GRADIENTS)]


ROUNDING_MODES = {"down": 0x400, "up": 0x800, "toward zero": 0xC00}  #: of <fenv.h> on x86


@contextmanager
def _rounding(mode: str) -> Iterator[None]:
    libm = ctypes.CDLL(None)
    assert libm.fesetround(ROUNDING_MODES[mode]) == 0
    try:
        yield
    finally:
        assert libm.fesetround(0) == 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the rounding modes' numbers are those of x86-64")
@pytest.mark.parametrize("mode", ROUNDING_MODES)
def test_the_waist_does_not_depend_on_the_rounding_mode(mode: str) -> None:
    """All but what lives on the processor's rounding to nearest: magic numbers, sums of slices, and estimates."""
    fast = (
        "quantize",
        "posit_mm",
        "quire_dot",
        "mx.quantize",
        "mx.dequantize",
        "mx_mm",
        "scaled_mm",
        "gemm",
        "exact_partial",
        "functions.",
    )
    estimated = {f"posit.{name}" for names in ELEMENTARY.values() for name in names}
    calls = tuple(call for call in CALLS if not call.name.startswith(fast) and call.covers not in estimated)
    _expected()
    clear_caches()
    with _rounding(mode):
        assert (torch.tensor([1.0]) + 2.0**-30 > 1) == (mode == "up")
        moved = {call.name for call in calls if bits(call()) != _expected()[call.name]}
    assert not moved


# ---- layout -------------------------------------------------------------------------------------------------------

SHAPE = (2, 3, 4, 5)


def _strided(x: Tensor) -> Tensor:
    room = x.new_zeros((*x.shape[:-1], 2 * x.shape[-1] + 1))
    room[..., 1::2] = x
    return room[..., 1::2]


def _reversed_axes(x: Tensor) -> Tensor:
    axes = list(range(x.dim()))[::-1]
    return x.permute(axes).contiguous().permute(axes)


def _misaligned(x: Tensor) -> Tensor:
    room = x.new_zeros(x.numel() + 1)
    room[1:] = x.reshape(-1)
    return room[1:].view(x.shape)


def _negative_bit(x: Tensor) -> Tensor:
    return torch._neg_view(x.neg()) if x.dtype in FLOAT_ROWS else x


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "strided": _strided,
    "transposed": _reversed_axes,
    "misaligned": _misaligned,
    "negative bit": _negative_bit,
}
ELEMENTWISE = tuple(call for call in CALLS if call.elementwise)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_result_depends_on_the_layout(layout: str) -> None:
    arrange = LAYOUTS[layout]
    moved = [call.name for call in CALLS if bits(call.run(*map(arrange, call.operands))) != _expected()[call.name]]
    assert not moved


def _same_everywhere(call: Call) -> bool:
    """Whether shape and strides are no matter, nor are operands laid out in different ways."""
    want = bits(call().view(SHAPE))
    operands = [x.view(SHAPE) for x in call.operands]
    arrangements: list[Callable[[int, Tensor], Tensor]] = [
        lambda i, x: x,
        lambda i, x: _strided(x),
        lambda i, x: _reversed_axes(x),
        lambda i, x: x if i else _reversed_axes(x),
        lambda i, x: x.contiguous(memory_format=torch.channels_last),
        lambda i, x: x[None].expand(2, *SHAPE)[1],
    ]
    return all(bits(call.run(*(arrange(i, x) for i, x in enumerate(operands)))) == want for arrange in arrangements)


def test_no_element_depends_on_shape_and_strides() -> None:
    assert not [call.name for call in ELEMENTWISE if not _same_everywhere(call)]


def test_expanded_operands_are_as_good_as_copies() -> None:
    moved = []
    for call in ELEMENTWISE:
        expanded = [x.view(10, 12)[:, :1].expand(10, 12) for x in call.operands]
        if bits(call.run(*expanded)) != bits(call.run(*(x.contiguous() for x in expanded))):
            moved.append(call.name)
    assert not moved


# ---- length and position ------------------------------------------------------------------------------------------


def _repeated(x: Tensor, length: int) -> Tensor:
    return x.repeat(-(-length // COUNT))[:length]


def _lengths(call: Call) -> tuple[int, ...]:
    table = 1 << 16 if call.name.startswith(("decode posit16", "posit.to_float float16")) else CHUNK
    return 0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, table


def test_no_element_depends_on_the_length() -> None:
    moved = []
    for call in ELEMENTWISE:
        want = call()
        for length in _lengths(call):
            got = call.run(*(_repeated(x, length) for x in call.operands))
            if bits(got) != bits(_repeated(want, length)):
                moved.append((call.name, length))
    assert not moved


def test_an_element_alone_gives_what_it_gives_in_company() -> None:
    moved = []
    for call in ELEMENTWISE:
        alone = torch.stack([call.run(*(x[i] for x in call.operands)) for i in range(COUNT)])
        if bits(alone) != bits(call()):
            moved.append(call.name)
    assert not moved


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_no_element_depends_on_threads(every: int) -> None:
    """So many elements that torch shares them out, where an operation takes them in one piece."""
    moved = []
    for call in list({call.covers: call for call in reversed(ELEMENTWISE)}.values())[::every]:
        operands = [_repeated(x, 7 * 73 * 79).view(7, 73, 79).mT for x in call.operands]
        one = bits(call.run(*operands))
        with switched(torch.get_num_threads, torch.set_num_threads, 2):
            if bits(call.run(*operands)) != one:
                moved.append(call.name)
    assert not moved


@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
def test_a_row_of_a_product_is_the_same_alone(dtype: torch.dtype) -> None:
    a, b = floats(dtype, 24, 210).view(3, 7, 10).nan_to_num(1.0, 2.0, -2.0), floats(dtype, 25, 150)[50:].view(10, 10)
    fmt = refnum.Posit(8, 1)
    batch = refnum.posit_mm(a, b, fmt)
    for i in range(3):
        assert bits(refnum.posit_mm(a[i], b, fmt)) == bits(batch[i])
        for j in range(7):
            assert bits(refnum.posit_mm(a[i, j : j + 1], b, fmt)) == bits(batch[i, j : j + 1])
            assert bits(refnum.quire_dot(a[i, j], b[:, 3], fmt)) == bits(batch[i, j, 3])
