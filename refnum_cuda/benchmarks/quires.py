"""Products in quires, beside torch's products of float32 and of int8.

By residues a product is several of int8, as many as the operands' range asks for. So there are two kinds of operands:
normal variates, and random patterns, whose magnitudes are all there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from harness import Row
from torch import Tensor

import refnum
from refnum import Posit
from refnum_cuda import launch, modules, quires, residues

TARGETS = {Posit(16): "20 TOPS", Posit(8): "40 TOPS"}


def _random() -> torch.Generator:
    return torch.Generator("cuda").manual_seed(1)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=_random(), device="cuda", dtype=torch.float32)


def _patterns(fmt: Posit, *shape: int) -> Tensor:
    top = 1 << (fmt.n - 1)
    bits = torch.randint(1 - top, top, shape, generator=_random(), device="cuda")
    return bits.to(quires.container(fmt))


def _row(name: str, a: Tensor, b: Tensor, fmt: Posit, beside: dict[str, Callable[[], object]], target: str = "") -> Row:
    (m, k), n = a.shape, b.shape[1]
    return Row(
        f"quire {fmt}, {name}, {m} x {k} x {n}",
        ours=lambda: refnum.posit_mm(a, b, fmt),
        beside=beside,
        operations=2 * m * k * n,
        bytes=(m * k + k * n + m * n) * a.itemsize,
        target=target,
    )


def _squares(size: int, targets: dict[Posit, str]) -> Iterator[Row]:
    x, y = _normal(size, size), _normal(size, size)
    p, q = (torch.randint(-128, 128, (size, size), device="cuda").to(torch.int8) for _ in range(2))
    beside = {"torch.mm of float32": lambda: torch.mm(x, y), "torch._int_mm": lambda: torch._int_mm(p, q.mT)}
    for fmt in TARGETS:
        yield _row("normal float32", x, y, fmt, beside, targets.get(fmt, ""))
        yield _row(
            "all patterns", _patterns(fmt, size, size), _patterns(fmt, size, size), fmt, beside, targets.get(fmt, "")
        )


def _parts(size: int, fmt: Posit) -> Iterator[Row]:
    """What a product by residues is made of."""
    x, y = _normal(size, size), _normal(size, size)
    out = torch.empty(1, size, size, dtype=torch.float32, device="cuda")
    gpu = quires.Gpu(132, modules.served_by(launch.ordinal(x.device)))
    form = quires.ByResidues(x[None], y.mT[None], None, out, fmt, gpu)
    calls = {call[0].name + " " * i: call for i, call in enumerate(form.launches())}
    for call in calls.values():
        launch.launch(*call)
    count = int(form.served)
    for name, call in calls.items():
        work = 2 * size**3 * count if call[0].stem == "residues" else 0
        note = f"{count} moduli; part of quire {fmt}, {size}^3"
        yield Row(name.strip(), ours=lambda call=call: launch.launch(*call), operations=work, note=note)


def _multiplied(size: int, count: int, name: str, form: residues.Form) -> Row:
    draw = _random()
    a, b = (
        torch.randint(-128, 128, (count, size, size), generator=draw, device="cuda", dtype=torch.int8) for _ in range(2)
    )
    out = torch.empty(count, size, size, dtype=torch.uint8, device="cuda")
    call = residues.multiplied(a, b, out, None, form)

    def by_torch() -> None:
        for x, y in zip(a, b, strict=True):
            torch._int_mm(x, y.mT)

    return Row(
        f"products of residues by {name}, {count} of {size}^3",
        ours=lambda: launch.launch(*call),
        beside={"as many torch._int_mm": by_torch},
        operations=2 * count * size**3,
        note="8-bit sums modulo m, beside 32-bit sums",
    )


def rows() -> Iterator[Row]:
    """Large products by residues, what they are made of, and small ones by registers."""
    yield from _squares(4096, TARGETS)
    yield from _squares(1024, {})
    p, q = (refnum.encode(x.double(), Posit(32)) for x in (_normal(4096, 4096), _normal(4096, 4096)))
    yield _row("normal patterns", p, q, Posit(32), {})
    yield _multiplied(4096, 4, "warps", residues.BY_WARPS)
    if torch.cuda.get_device_capability() == (9, 0):
        yield _multiplied(4096, 4, "warpgroups", residues.BY_WARPGROUPS)
    yield from _parts(4096, Posit(16))
    weights = _normal(4096, 4096)
    for few in (1, 16):
        x = _normal(few, 4096)
        beside = {"torch.mm of float32": lambda x=x: torch.mm(x, weights.mT)}
        yield _row("a layer, normal float32", x, weights.mT, Posit(16), beside)
    for fmt, size in ((Posit(16), 64), (Posit(32), 256)):
        yield _row("all patterns", _patterns(fmt, size, size), _patterns(fmt, size, size), fmt, {})
    fmt = Posit(16)
    a, b = _patterns(fmt, 1, 1 << 22), _patterns(fmt, 1, 1 << 22)
    yield Row(
        "quire_dot posit16, 2^22 terms",
        ours=lambda: refnum.quire_dot(a, b, fmt),
        operations=2 * a.numel(),
        bytes=2 * a.numel() * a.itemsize,
    )
