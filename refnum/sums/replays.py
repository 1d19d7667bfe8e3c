"""The orders of silvermpx/sgemm-bi 0.1.1, replayed: contracts ``sgbi.*/0.1.1``.

It sums in float32, in an order that it chooses by shape. Orders and choices are rows of the tables below. A shape that
its kernels do not cover is refused here as it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import UncoveredError
from ..fast.conversions import converted
from .chain import Arithmetic, from_bias, ordered_mm
from .operands import product_shape, widened
from .tree import join, leaves, with_bias

VERSION = "0.1.1"
SLABS, LANES = 8, 32
LANES_IN_PAIRS = [
    int(f"{lane:05b}"[::-1], 2) for lane in range(LANES)
]  #: 0, 16, 8, 24, ...: neighbours are added first
SCRATCH = 1 << 23  #: floats that partial sums may take
TRANSPOSED = 1 << 22  #: floats that transposed weights may take
BLOCKS = 142  #: blocks that fill the GPU for which it was tuned


def replay_mm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    *,
    order: str,
    chunk: int = 0,
    arithmetic: str | None = None,
) -> Tensor:
    """``a @ b + bias`` of float32 operands with at least two axes in one of `ORDERS`, rounded to a dtype.

    ``chunk`` is the length of the chains of splitm_f64, which alone has it. For ``arithmetic`` see `chain.chain_mm`.
    """
    return ordered_mm(
        a, b, bias, dtype, partial(ORDERS[order], chunk=chunk) if chunk else ORDERS[order], arithmetic=arithmetic
    )


# ---- orders ----------------------------------------------------------------------------------------


def _slab8(a: Tensor, b: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Eight slabs of equal length, the last ones shorter or empty, joined by a tree."""
    slabs = list(leaves(a, b, max(1, _up(a.shape[-1], SLABS)), arithmetic))
    empty = arithmetic.chain(a[..., :0], b[..., :0, :])
    return join(slabs + [empty] * (SLABS - len(slabs)), add=arithmetic.add)


def _lane32(a: Tensor, b: Tensor, arithmetic: Arithmetic) -> Tensor:
    """A lane for each remainder of k; v[i] += v[i + h] for h = 16, 8, 4, 2, 1."""
    lanes = (slice(i, None, LANES) for i in LANES_IN_PAIRS)
    return join((arithmetic.chain(a[..., k], b[..., k, :]) for k in lanes), add=arithmetic.add)


def _splitk32(a: Tensor, b: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Whole chunks, added one by one; the rest continues as fused multiply-adds onto their sum."""
    whole = a.shape[-1] - a.shape[-1] % 32
    chunks = leaves(a[..., :whole], b[..., :whole, :], 32, arithmetic)
    return arithmetic.chain(a[..., whole:], b[..., whole:, :], reduce(arithmetic.add, chunks))


def _splitk64(a: Tensor, b: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Chunks, added one by one."""
    return reduce(arithmetic.add, leaves(a, b, 64, arithmetic))


def _splitm_f64(a: Tensor, b: Tensor, arithmetic: Arithmetic, *, chunk: int) -> Tensor:
    """Chunks, added one by one in float64."""
    wide = (converted(part, torch.float64) for part in leaves(a, b, chunk, arithmetic))
    return converted(reduce(torch.add, wide), torch.float32)


def _product(a: Tensor, b: Tensor, bias: Tensor | None, arithmetic: Arithmetic) -> Tensor:
    """The one product, which is rounded once: -0 changes nothing, not even -0."""
    assert bias is None
    return arithmetic.chain(a, b, torch.full((), -0.0, dtype=torch.float32, device=a.device))


ORDERS: dict[str, Callable[..., Tensor]] = {
    "chain": from_bias,
    "product": _product,
    "slab8": with_bias(_slab8),
    "lane32": with_bias(_lane32),
    "splitk32": with_bias(_splitk32),
    "splitk64": with_bias(_splitk64),
    "splitm_f64": with_bias(_splitm_f64),
}


# ---- choices by shape, the first that serves it being taken -----------------------------------------


class Choice(NamedTuple):
    """An order for some shapes (M, K, N), where X is [M, K], W is [K, N] and Y = X W."""

    order: str
    serves: Callable[[int, int, int], bool]
    chunk: Callable[[int, int, int], int] = lambda m, k, n: 0  #: the length of the chains of splitm_f64
    columns: int = 1  #: the order serves as many columns as are a multiple of this; the others are chains


def _blocks(rows: int, columns: int) -> int:
    return _up(rows, 128) * _up(columns, 64)


def _up(x: int, step: int) -> int:
    """x / step, rounded up."""
    return -(-x // step)


def _split_m(m: int, k: int, n: int) -> int:
    """The length of chunks of M that fill the GPU twice, or 0 where they would not."""
    base = _up(k, 128) * _up(n, 128)
    if k < 128 or n < 128 or m < 256 or base >= 2 * BLOCKS:
        return 0
    parts = max(1, min(_up(2 * BLOCKS, base), SCRATCH // (k * n)))
    chunk = 16 * _up(_up(m, parts), 16)
    return chunk if _up(m, chunk) >= 2 and _up(m, chunk) * k * n <= SCRATCH else 0


def _splits_n(m: int, k: int, n: int) -> bool:
    whole = k - k % 32
    return (
        32 <= m <= 1024
        and 64 <= k <= 4096
        and 32 <= n <= 2048
        and whole * n <= TRANSPOSED
        and n // 32 * m * whole <= SCRATCH
        and _blocks(m, k) < BLOCKS
    )


#: Y = X W + bias: sums over K
FORWARD = (
    Choice("slab8", lambda m, k, n: 1 <= m < 32 <= k <= 2048 and n >= 32),
    Choice("chain", lambda m, k, n: 2 <= n <= 127),
    Choice("lane32", lambda m, k, n: n == 1 and k >= 32),
    Choice(
        "splitk32",
        lambda m, k, n: (
            32 <= m <= 1024
            and 64 <= n <= 2048
            and n % 4 == 0
            and k >= 32
            and k // 32 * m * n <= SCRATCH
            and _blocks(m, n) < BLOCKS
        ),
    ),
    Choice(
        "splitk64",
        lambda m, k, n: (
            m > 1024
            and 128 <= n <= 512
            and k >= 64
            and k % 32 == 0
            and _up(k, 64) >= 6
            and _up(k, 64) * m * n <= SCRATCH
            and _blocks(m, n) < 3 * BLOCKS
        ),
    ),
    Choice("chain", lambda m, k, n: n >= 128),
)
#: dW = X^T dY: sums over M
WEIGHT_GRADIENT = (
    Choice("lane32", lambda m, k, n: n == 1 and k >= 4 and m >= 32),
    Choice("chain", lambda m, k, n: 2 <= n <= 127),
    Choice("splitm_f64", lambda m, k, n: _split_m(m, k, n) > 0, _split_m),
    Choice("chain", lambda m, k, n: n >= 128),
)
#: dX = dY W^T: sums over N
INPUT_GRADIENT = (
    Choice("chain", lambda m, k, n: 2 <= n <= 127),
    Choice("chain", lambda m, k, n: m < 32 and n >= 128),
    Choice("product", lambda m, k, n: n == 1),
    Choice("splitk32", lambda m, k, n: k % 32 > 0 and n % 32 == 0 and _splits_n(m, k, n), columns=32),
    Choice("splitk32", lambda m, k, n: k % 32 == 0 and _splits_n(m, k, n)),
    Choice(
        "splitk64",
        lambda m, k, n: (
            m > 1024
            and 128 <= k <= 768
            and n >= 64
            and n % 32 == 0
            and k * n <= TRANSPOSED
            and _up(n, 64) >= 2
            and _up(n, 64) * m * k <= SCRATCH
            and _blocks(m, k) < 3 * BLOCKS
        ),
    ),
    Choice("chain", lambda m, k, n: (32 <= m < 128 and n >= 128) or m >= 128),
)


def forward_order(m: int, k: int, n: int) -> str:
    """The contract that serves Y [M, N] = X [M, K] W [K, N] + bias.

    >>> [forward_order(m, 768, 768) for m in (1, 32, 456)]
    ['sgbi.slab8/0.1.1', 'sgbi.splitk32/0.1.1', 'sgbi.chain/0.1.1']
    """
    return _named(_choose("the forward product", FORWARD, m, k, n), m, k, n)


def weight_gradient_order(m: int, k: int, n: int) -> str:
    """The contract that serves dW [K, N] = X^T dY.

    >>> weight_gradient_order(4096, 768, 768)
    'sgbi.splitm_f64(c=512)/0.1.1'
    """
    return _named(_choose("the gradient of weights", WEIGHT_GRADIENT, m, k, n), m, k, n)


def input_gradient_order(m: int, k: int, n: int) -> str:
    """The contract that serves dX [M, K] = dY W^T; of some shapes not all columns.

    >>> input_gradient_order(64, 100, 512)
    'sgbi.splitk32/0.1.1 in columns below 96, sgbi.chain/0.1.1 in others'
    >>> input_gradient_order(64, 100, 1)
    'one product'
    """
    choice = _choose("the gradient of inputs", INPUT_GRADIENT, m, k, n)
    if choice.order == "product":
        return "one product"
    name = _named(choice, m, k, n)
    if choice.columns == 1:
        return name
    return f"{name} in columns below {k - k % choice.columns}, sgbi.chain/{VERSION} in others"


def _named(choice: Choice, m: int, k: int, n: int) -> str:
    chunk = choice.chunk(m, k, n)
    return f"sgbi.{choice.order}{f'(c={chunk})' if chunk else ''}/{VERSION}"


def _choose(what: str, table: tuple[Choice, ...], m: int, k: int, n: int) -> Choice:
    for choice in table:
        if choice.serves(m, k, n):
            return choice
    op, reason = f"sgbi.dispatch/{VERSION}", f"it has no kernel for {what} of M={m}, K={k}, N={n}"
    raise UncoveredError(
        f"{op} does not cover this shape: {reason}. Allowed is any with N of 2 or more. Choose another contract, as "
        "chain/v1.",
        op=op,
        reason=reason,
    )


def dispatch_forward_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``a @ b + bias`` of float32 operands with at least two axes, in the order of `forward_order`."""
    shape = a.shape[-2], a.shape[-1], b.shape[-1]
    return _chosen_mm("the forward product", FORWARD, shape, a, b, bias, dtype)


def dispatch_weight_gradient(x: Tensor, dy: Tensor) -> Tensor:
    """``x.mT @ dy`` [.., K, N] of x [.., M, K] and dy [.., M, N], in the order of `weight_gradient_order`: in float32.

    Operands are float32, bfloat16 or float16. It is what one addition in float32 adds to a gradient that is there.
    """
    shape = x.shape[-2], x.shape[-1], dy.shape[-1]
    sides = widened(x.mT), widened(dy)
    return _chosen_mm("the gradient of weights", WEIGHT_GRADIENT, shape, *sides, None, torch.float32)


def dispatch_input_gradient(dy: Tensor, w: Tensor) -> Tensor:
    """``dy @ w.mT`` [.., M, K] of dy [.., M, N] and w [.., K, N], in the order of `input_gradient_order`.

    Operands are float32, bfloat16 or float16; the result has the dtype of dy.
    """
    shape = dy.shape[-2], w.shape[-2], w.shape[-1]
    sides = widened(dy), widened(w.mT)
    return _chosen_mm("the gradient of inputs", INPUT_GRADIENT, shape, *sides, None, dy.dtype)


def _chosen_mm(
    what: str,
    table: tuple[Choice, ...],
    shape: tuple[int, int, int],
    a: Tensor,
    b: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    if not product_shape(a, b).numel():
        return torch.empty(product_shape(a, b), dtype=dtype, device=a.device)
    choice = _choose(what, table, *shape)
    columns = b.shape[-1] - b.shape[-1] % choice.columns
    result = replay_mm(a, b[..., :columns], bias, dtype, order=choice.order, chunk=choice.chunk(*shape))
    if columns == b.shape[-1]:
        return result
    return torch.cat((result, replay_mm(a, b[..., columns:], None, dtype, order="chain")), -1)
