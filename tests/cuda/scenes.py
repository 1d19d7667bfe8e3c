"""Scenes for `stage`: what a program does, and what it sees."""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cuda.stage import told

import refnum
from refnum import Posit, codec, mx, posit
from refnum.posit.arithmetic import by_definition
from refnum_cuda import driver, launch, modules, operations, serving

X = torch.tensor([1.0, -0.75, 3.14159, float("inf"), float("nan"), 1e-30, -0.0], dtype=torch.float32)
WANT = codec.codes_of(X, Posit(16), "nearest_even", None)


def encoded() -> bool:
    """Whether an encoding is the right one."""
    return torch.equal(refnum.encode(X, Posit(16)), WANT)


def twice() -> dict[str, Any]:
    """An operation twice, and what status says afterwards."""
    first, again = told(encoded), told(encoded)
    now, _, refused = told(refnum.status)
    return {"first": first, "again": again, "status": refused if now is None else str(now)}


def without_library() -> dict[str, Any]:
    """The same, where there is no driver."""
    driver.LIBRARY = "libcuda-of-no-machine.so.1"
    return twice()


def with_damage(name: str, kind: str) -> dict[str, Any]:
    """The same, with a file that was changed or is missing."""
    path = Path(modules.BIN) / name
    data = path.read_bytes()
    path.unlink() if kind == "missing" else path.write_bytes(data + b" ")
    try:
        return twice()
    finally:
        path.write_bytes(data)


def nothing() -> dict[str, Any]:
    """Nothing: registered, but not called."""
    return {"kernels": sorted(name for _, name in refnum.backend.KERNELS)}


def results() -> list[str]:
    """Names of operands for which a kernel's results are not the reference's."""
    random = torch.Generator(device="cpu").manual_seed(8)
    base = torch.randn((6, 5, 4), generator=random, dtype=torch.float32) * 2.0 ** torch.arange(-24, 24, 12)
    bits = torch.randint(-(1 << 31), 1 << 31, (6, 5, 4), generator=random)
    operands = {
        "contiguous": base,
        "transposed": base.permute(2, 0, 1),
        "every other": base[::2, :, 1::2],
        "expanded": base[:, :1].expand(6, 7, 4),
        "negative": torch._neg_view(base),
        "0-d": base[0, 0, 0],
        "one": base[:1, :1, :1],
        "nine dimensions": base[:4, :4].reshape(4, 2, 2, 4).permute(3, 0, 2, 1)[(None,) * 5],
        "ten strided": torch.randn((2,) * 10, generator=random).permute(*range(9, -1, -1))[..., ::2],
        "empty": base[:0],
        "float64": base.to(torch.float64).mT,
        "float16": base.to(torch.float16),
        "bfloat16": base.to(torch.bfloat16).mT,
    }
    wrong = []
    for name, x in operands.items():
        codes = codec.codes_of(x, Posit(16), "nearest_even", None)
        random_bits = bits if x.shape == bits.shape else bits[0, 0, 0].expand(x.shape)
        pairs = {
            "encode": (refnum.encode(x, Posit(16)), codes),
            "decode": (refnum.decode(codes, Posit(16)), codec.floats_of(codes, Posit(16), torch.float64)),
            "quantize": (refnum.quantize(x, refnum.e4m3), codec.rounded(x, refnum.e4m3, "nearest_even", None)),
            "stochastic": (
                refnum.encode(x, refnum.e4m3, rounding="stochastic", random_bits=random_bits),
                codec.codes_of(x, refnum.e4m3, "stochastic", random_bits),
            ),
            "a sum": (posit.add(codes, codes.flip(-1) if x.dim() else codes, Posit(16)), _sum(codes)),
            "posit64": (
                refnum.encode(x, Posit(64)),
                codec.codes_of(x, Posit(64), "nearest_even", None),
            ),
        }
        for what, (got, want) in pairs.items():
            same = got.shape == want.shape and got.dtype == want.dtype and not serving._differing(got, want)
            wrong += [] if same else [f"{what} of {name}"]
    return wrong


def _sum(codes: torch.Tensor) -> torch.Tensor:
    return by_definition("add", Posit(16), codes, codes.flip(-1) if codes.dim() else codes)


def in_a_thread() -> list[bool]:
    """The same operation in threads that start together, none of which has a context."""
    found, barrier = [], threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        found.append(encoded())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def later_failure() -> dict[str, Any]:
    """A launch that fails after others went well."""
    before = encoded()
    os.environ["FAKECUDA_FAIL"] = "cuLaunchKernel:719"
    return {"before": before, "after": told(encoded), "again": told(encoded)}


def lying_kernel() -> dict[str, Any]:
    """An operation whose kernel gets one bit wrong."""
    right = operations.OPERATIONS[0]
    serve = serving.implementation(dataclasses.replace(right, kernel=lambda *a: right.kernel(*a) ^ 1))
    first, again = (told(lambda: serve(X, "posit16", "nearest_even", None)) for _ in range(2))
    return {"first": first, "again": again}


def lying_gpu() -> tuple[Any, list[str], str]:
    """An operation on a GPU that flushes subnormals."""
    serving.PROBED[2] ^= 1
    return told(encoded)


def by_choice(name: str) -> tuple[bool, str]:
    """An operation inside `use_backend`."""
    with refnum.use_backend(name) as now:
        return encoded(), str(now)


def much_shared_memory() -> None:
    """Functions asked for with more shared memory than all may have."""
    modules.obstacle(0)
    driver.ensure_context(0)
    for shared in (1 << 10, 100 << 10, 100 << 10):
        modules.function(0, "probe", "rn_probe", shared)


def warmed_up() -> int:
    """All that is loaded and tried before a capture: how many examples."""
    operations.warmup(X.device)
    return sum(bool(each.covers(*example)) for each in operations.OPERATIONS for example in each.examples())


def checked() -> dict[str, str]:
    """What torch's own check says of each operation."""
    calls = {"encode": ("posit16", "nearest_even", None), "quantize": ("e4m3", "to_odd", None)}
    x, codes = X[:3], WANT[:3]  # without NaN, which torch takes for two different results
    found = {name: torch.library.opcheck(getattr(torch.ops.refnum, name), (x, *rest)) for name, rest in calls.items()}
    found["decode"] = torch.library.opcheck(torch.ops.refnum.decode, (codes, "posit16", torch.float64))
    return {f"{name} {test}": result for name, tests in found.items() for test, result in tests.items()}


def compiled() -> dict[str, Any]:
    """The operations that a compiled program calls."""
    targets: list[str] = []

    def program(x: torch.Tensor) -> torch.Tensor:
        codes = refnum.encode(x, Posit(16))
        return refnum.decode(codes, Posit(16), dtype=torch.float32) + refnum.quantize(x, Posit(16))

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        targets.extend(str(node.target) for node in graph.graph.nodes if "refnum" in str(node.target))
        return graph.forward

    got = torch.compile(program, backend=backend, fullgraph=True)(X)
    return {"targets": targets, "equal": not serving._differing(got, program(X))}


def _differs(call: Callable[..., torch.Tensor], *arguments: Any, **named: Any) -> bool:
    """Whether the kernels' result of a call has another shape, dtype or bits than that of the reference."""
    found = call(*arguments, **named)
    with refnum.use_backend("reference"):
        return bool(serving._differing(found, call(*arguments, **named)))


def products() -> list[str]:
    """Products for which a kernel's bits are not the reference's."""
    random = torch.Generator(device="cpu").manual_seed(9)
    cases = {
        "matrices": ((5, 40), (40, 9), None, torch.float32),
        "tiles": ((130, 21), (21, 129), (129,), torch.float32),
        "batches": ((3, 1, 4, 17), (2, 17, 8), (2, 1, 8), torch.bfloat16),
        "one row": ((7,), (7, 6), None, torch.float16),
        "no terms": ((4, 0), (0, 3), (3,), torch.float32),
        "no rows": ((0, 4), (4, 3), None, torch.float32),
    }
    wrong = []
    for name, (left, right, bias, dtype) in cases.items():
        a, b = (torch.randn(shape, generator=random, dtype=torch.float32).to(dtype) for shape in (left, right))
        addend = None if bias is None else torch.randn(bias, generator=random, dtype=torch.float32)
        for contract in ("chain/v1", "tree/v1(Kc=8)", "exact/v1"):
            wrong += [
                f"{name}, {contract}, {out_dtype}"
                for out_dtype in (torch.float32, torch.bfloat16)
                if _differs(refnum.gemm, a, b, addend, contract=contract, out_dtype=out_dtype)
            ]
    return wrong


def on_tensor_cores() -> list[str]:
    """The same of tensor cores: small ones, large ones, and those of which the copying engine can bring no operand."""
    random = torch.Generator(device="cpu").manual_seed(10)
    shapes = {"small": (5, 40, 9), "large": (80, 72, 136), "odd": (67, 33, 65), "no terms": (4, 0, 3)}
    wrong = []
    for (name, (m, k, n)), kind in itertools.product(shapes.items(), ("bf16", "f16")):
        dtype = torch.bfloat16 if kind == "bf16" else torch.float16
        a, b = (torch.randn(shape, generator=random).to(dtype) for shape in ((m, k), (k, n)))
        addend = torch.randn(n, generator=random)
        for contract in (f"tc.hopper.{kind}/v1", f"tcsplit/v1(inst=tc.hopper.{kind}, Kc=16)", f"tc.ampere.{kind}/v1"):
            for bias, out_dtype in ((addend, torch.float32), (None, dtype)):
                if _differs(refnum.gemm, a, b, bias, contract=contract, out_dtype=out_dtype):
                    wrong.append(f"{name}, {contract}, {out_dtype}")
    return wrong


def of_eight_bits() -> list[str]:
    """The same of floats of 8 bits, chunks of whole stages and others."""
    random = torch.Generator(device="cpu").manual_seed(12)
    shapes = {"small": (5, 40, 9), "large": (80, 300, 136), "no terms": (4, 0, 3), "no rows": (0, 8, 4)}
    dtypes = (torch.float8_e4m3fn, torch.float8_e5m2)
    contracts = ("tc.hopper.fp8/v1", *(f"tcsplit/v1(inst=tc.hopper.fp8, Kc={chunk})" for chunk in (128, 1 << 30, 48)))
    outs = (torch.float32, torch.bfloat16, torch.float8_e5m2)
    wrong = []
    for (name, (m, k, n)), contract, out in itertools.product(shapes.items(), contracts, outs):
        a, b = torch.randn(m, k, generator=random).to(dtypes[0]), torch.randn(k, n, generator=random).to(dtypes[1])
        bias = torch.randn(n, generator=random) if out == torch.bfloat16 else None
        if _differs(refnum.gemm, a, b, bias, contract=contract, out_dtype=out):
            wrong.append(f"{name}, {contract}, {out}")
    return wrong


def written_to() -> list[str]:
    """Results that must not be written to, by kernels and by the reference."""
    a, b = (torch.ones(shape, requires_grad=True) for shape in ((2, 3), (3, 2)))
    calls = {
        "encode": lambda: refnum.encode(a, Posit(16)),
        "encode by the reference": lambda: refnum.encode(a, Posit(64)),
        "quantize": lambda: refnum.quantize(a, Posit(16)),
        "posit.sqrt": lambda: posit.sqrt(refnum.encode(a, Posit(16)), Posit(16)),
        "posit.sqrt by the reference": lambda: posit.sqrt(refnum.encode(a, Posit(64)), Posit(64)),
        "quantize by the reference": lambda: refnum.quantize(a.double(), Posit(48)),
        "gemm": lambda: refnum.gemm(a, b),
        "gemm by the reference": lambda: refnum.gemm(a.double(), b.double(), contract="exact/v1"),
        "decode by the reference": lambda: refnum.decode(torch.zeros(2, dtype=torch.int64), Posit(40)),
    }
    return [name for name, call in calls.items() if told(lambda call=call: call().add_(1))[2]]


def on_two_devices() -> list[bool]:
    """The same operation on one device, on another, and on the first again."""
    found = []
    for device in (0, 1, 0):
        launch.ordinal, launch.current = (lambda _, device=device: device), (lambda device=device: (device, 1))
        found.append(encoded())
    return found


def while_capturing() -> dict[str, Any]:
    """An operation that a capture meets before and after it has been tried."""
    torch.version.cuda, torch.cuda.is_current_stream_capturing = "13.0", (lambda: True)
    cold = told(encoded)
    torch.cuda.is_current_stream_capturing = lambda: False
    encoded()
    torch.cuda.is_current_stream_capturing = lambda: True
    return {"cold": cold, "warm": told(encoded)}


def block_formats() -> list[str]:
    """Calls of refnum.mx that kernels do not answer as the reference does."""
    random = torch.Generator(device="cpu").manual_seed(11)
    x = torch.randn((32, 96), generator=random, dtype=torch.float32)
    bits = torch.randint(0, 1 << 16, (96,), generator=random)
    calls = {
        "mxfp4": lambda: mx.quantize(x, refnum.mxfp4),
        "mxfp4 along columns": lambda: mx.quantize(x, refnum.mxfp4, axis=0, profile="aiter", scale="rceil"),
        "padded": lambda: mx.quantize(x[:, :70], refnum.mxint8, pad=True),
        "stochastic": lambda: mx.quantize(x, refnum.mxfp8_e5m2, rounding="stochastic", random_bits=bits),
        "two levels": lambda: mx.quantize(x, refnum.nvfp4, tensor_scale=mx.tensor_scale(x, refnum.nvfp4)),
        "without a kernel": lambda: mx.quantize(x, refnum.mxfp4, profile="microxcaling"),
        "nothing": lambda: mx.quantize(x[:0], refnum.mxfp4),
    }

    def answers(call: Callable[[], mx.Blocks]) -> list[torch.Tensor]:
        found = call()
        order = mx.to_blocked(found.scales)
        values = [mx.dequantize(found, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float64)]
        return [found.elements, found.scales, order, mx.from_blocked(order, found.scales.shape), *values]

    wrong = []
    for name, call in calls.items():
        got = answers(call)
        with refnum.use_backend("reference"):
            want = answers(call)
        wrong += [name] * any(serving._differing(ours, theirs) for ours, theirs in zip(got, want, strict=True))
    return wrong


def in_quires() -> list[str]:
    """Calls of posit_mm and quire_dot that kernels do not answer as the reference does."""
    random = torch.Generator(device="cpu").manual_seed(12)
    a, b, c = (torch.randn(shape, generator=random) for shape in ((3, 1, 5, 9), (2, 9, 4), (5, 4)))
    codes = [refnum.encode(x, Posit(16)) for x in (a, b, c)]
    calls = {
        "floats": lambda: refnum.posit_mm(a, b, Posit(16), c=c, out_dtype=torch.float64),
        "gradients": lambda: refnum.posit_mm(a.requires_grad_(), b, Posit(8), c=c).detach(),
        "codes": lambda: refnum.posit_mm(codes[0], codes[1], Posit(16), c=codes[2]),
        "wider codes": lambda: refnum.posit_mm(codes[0].long(), codes[1].long(), Posit(16)),
        "vectors": lambda: refnum.posit_mm(a[0, 0, 0], b, Posit(32), out_dtype=torch.float64),
        "negative views": lambda: refnum.posit_mm(torch._neg_view(a), b, Posit(8)),
        "posit64": lambda: refnum.posit_mm(a, b, Posit(40), out_dtype=torch.float64),
        "no terms": lambda: refnum.posit_mm(a[..., :0], b[:, :0], Posit(16), c=c),
        "no rows": lambda: refnum.posit_mm(a[..., :0, :], b, Posit(16)),
        "dots": lambda: refnum.quire_dot(a, b.mT[:, :1], Posit(16)),
        "dots of codes": lambda: refnum.quire_dot(codes[0], codes[0][:1], Posit(16)),
        "no dots": lambda: refnum.quire_dot(a[:0], a[:0], Posit(16)),
        "dots of no terms": lambda: refnum.quire_dot(a[..., :0], a[..., :0], Posit(16)),
    }
    return [name for name, call in calls.items() if _differs(call)]


def rounding_as_they_go() -> list[str]:
    """Calls of posit_mm in modes other than quire that kernels do not answer as the reference does."""
    random = torch.Generator(device="cpu").manual_seed(13)
    a, b, c = (torch.randn(shape, generator=random) for shape in ((3, 1, 5, 9), (2, 9, 4), (5, 4)))
    codes = [refnum.encode(x, Posit(16)) for x in (a, b, c)]
    calls = {
        "products": lambda: refnum.posit_mm(a, b, Posit(16), mode="products", c=c),
        "products of codes": lambda: refnum.posit_mm(codes[0], codes[1].long(), Posit(16), mode="products"),
        "products of long posits": lambda: refnum.posit_mm(a, b, Posit(24), mode="products", c=c),
        "posit": lambda: refnum.posit_mm(a, b, Posit(16), mode="posit", c=c, out_dtype=torch.float64),
        "posit of codes": lambda: refnum.posit_mm(codes[0], codes[1], Posit(16), mode="posit", c=codes[2]),
        "posit32": lambda: refnum.posit_mm(a.double(), b.double(), Posit(32), mode="posit"),
        "cuposit": lambda: refnum.posit_mm(a, b, Posit(8), mode="cuposit", c=c, alpha=0.5, beta=2.0),
        "gradients": lambda: refnum.posit_mm(a.requires_grad_(), b, Posit(8), mode="products", c=c).detach(),
        "no terms": lambda: refnum.posit_mm(a[..., :0], b[:, :0], Posit(16), mode="posit", c=c),
        "no rows": lambda: refnum.posit_mm(a[..., :0, :], b, Posit(16), mode="products"),
        "posit2": lambda: refnum.posit_mm(a, b, Posit(2), mode="products"),
    }
    return [name for name, call in calls.items() if _differs(call)]
