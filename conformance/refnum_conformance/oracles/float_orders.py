"""Products of matrices under the contracts of sums, on Python integers (gemm.md C1 to C5 and C7).

A number is (negative, magnitude) and exact; what an order rounds on its way is rounded to float32, and the end of it
once more to the dtype of the result. The right side comes transposed, so that both sides are summed along their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

from . import matrixcore, minifloat, tensorcore
from .blocks import Number, product, total
from .minifloat import DTYPES
from .posit import signed
from .reals import Dyadic, OracleError

Numbers = Sequence[Number]
Matrix = Sequence[Sequence[int]]
Order = Callable[[Numbers, Numbers, Number | None], Number]

ZERO: Number = (False, Dyadic(0, 0))


def number(bits: int, dtype: str) -> Number:
    """The number that bits stand for."""
    return minifloat.decode(bits, DTYPES[dtype])


def rounded(x: Number, dtype: str = "float32") -> Number:
    """The nearest number of a dtype."""
    return minifloat.decode(minifloat.encode(*x, DTYPES[dtype]), DTYPES[dtype])


def fma(x: Number, y: Number, z: Number) -> Number:
    """x * y + z, rounded once."""
    return rounded(total([product(x, y), z]))


def plus(x: Number, y: Number, dtype: str = "float32") -> Number:
    """x + y, rounded."""
    return rounded(total([x, y]), dtype)


# Orders --------------------------------------------------------------------------------------------------------------


def exact(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    """The sum of all terms, not rounded."""
    return total([product(x, y) for x, y in zip(a, b, strict=True)] + ([] if bias is None else [bias]))


def chain(a: Numbers, b: Numbers, bias: Number | None = None) -> Number:
    """K ascending, fma by fma from the bias or +0."""
    accumulator = bias or ZERO
    for x, y in zip(a, b, strict=True):
        accumulator = fma(x, y, accumulator)
    return accumulator


def chunks(a: Numbers, b: Numbers, size: int) -> list[Number]:
    """The chains of runs of so many terms, the last one perhaps shorter."""
    return [chain(a[k : k + size], b[k : k + size]) for k in range(0, len(a), size)]


def join(nodes: Sequence[Number]) -> Number:
    """Neighbours added level by level; a last one without a neighbour moves up as it is."""
    while len(nodes) > 1:
        pairs = [plus(x, y) for x, y in zip(nodes[::2], nodes[1::2], strict=False)]
        nodes = pairs + list(nodes[2 * len(pairs) :])
    return nodes[0] if nodes else ZERO


def ascending(nodes: Sequence[Number], dtype: str = "float32") -> Number:
    """Added one by one to the first."""
    return reduce(partial(plus, dtype=dtype), nodes) if nodes else ZERO


def bias_last(order: Callable[[Numbers, Numbers], Number]) -> Order:
    """An order in which a bias is added when all else is done."""

    def with_bias(a: Numbers, b: Numbers, bias: Number | None) -> Number:
        found = order(a, b)
        return found if bias is None else plus(found, bias)

    return with_bias


def tree(chunk: int) -> Order:
    """Chains of so many terms, joined."""
    return bias_last(lambda a, b: join(chunks(a, b, chunk)))


# Orders of sgemm-bi --------------------------------------------------------------------------------------------------


def _slab8(a: Numbers, b: Numbers) -> Number:
    size = -(-len(a) // 8)
    return join([chain(a[w * size : (w + 1) * size], b[w * size : (w + 1) * size]) for w in range(8)])


def _lane32(a: Numbers, b: Numbers) -> Number:
    lanes = [chain(a[lane::32], b[lane::32]) for lane in range(32)]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [plus(x, y) for x, y in zip(lanes[:half], lanes[half:], strict=True)]
    return lanes[0]


def _splitk32(a: Numbers, b: Numbers) -> Number:
    main = len(a) - len(a) % 32
    return chain(a[main:], b[main:], ascending(chunks(a[:main], b[:main], 32)))


def _splitk64(a: Numbers, b: Numbers) -> Number:
    return ascending(chunks(a, b, 64))


def _splitm_f64(a: Numbers, b: Numbers, c: int) -> Number:
    return rounded(ascending(chunks(a, b, c), "float64"))


#: order -> what it makes of its parameters
SGBI: dict[str, Callable[..., Order]] = {
    "chain": lambda: chain,
    "slab8": lambda: bias_last(_slab8),
    "lane32": lambda: bias_last(_lane32),
    "splitk32": lambda: bias_last(_splitk32),
    "splitk64": lambda: bias_last(_splitk64),
    "splitm_f64": lambda c: bias_last(partial(_splitm_f64, c=c)),
}

CAP = 1 << 23


def dispatched(m: int, k: int, n: int) -> str:
    """The order that sgemm-bi takes for a forward product: the first that matches."""
    tiles, parts = -(-m // 128) * -(-n // 64), -(-k // 64)
    if m < 32 and 32 <= k <= 2048 and n >= 32:
        return "slab8"
    if 2 <= n <= 127:
        return "chain"
    if n == 1 and k >= 32:
        return "lane32"
    if 32 <= m <= 1024 and 64 <= n <= 2048 and n % 4 == 0 and k >= 32 and k // 32 * m * n <= CAP and tiles < 142:
        return "splitk32"
    if m > 1024 and 128 <= n <= 512 and k % 32 == 0 and parts >= 6 and parts * m * n <= CAP and tiles < 426:
        return "splitk64"
    if n >= 128:
        return "chain"
    raise OracleError(f"sgemm-bi has no order for M = {m}, K = {k}, N = {n}.")


# Products ------------------------------------------------------------------------------------------------------------

Choose = Callable[..., Order]  #: the shape (M, K, N) and parameters -> the order


def each(
    dot: Callable[[Any, Any, Any], int], a: Sequence[Any], b: Sequence[Any], bias: Sequence[Any]
) -> list[list[int]]:
    """The product of matrices, dot product by dot product."""
    return [[dot(row, column, z) for column, z in zip(b, bias, strict=True)] for row in a]


def result(x: Number, dtype: str) -> int:
    """The pattern nearest to a number, sign-extended."""
    return signed(minifloat.encode(*x, DTYPES[dtype]), DTYPES[dtype].width)


def product_under(choose: Choose) -> Callable[..., list[list[int]]]:
    """The product of matrices of bits, as a row of the operations table."""

    def multiply(
        a: Matrix,
        b: Matrix,
        bias: Sequence[int] | None = None,
        *,
        a_dtype: str,
        b_dtype: str,
        dtype: str,
        bias_dtype: str = "float32",
        **parameters: Any,
    ) -> list[list[int]]:
        order = choose((len(a), len(b[0]), len(b)), **parameters)
        rows, columns = (
            [[number(bits, side) for bits in line] for line in matrix] for matrix, side in ((a, a_dtype), (b, b_dtype))
        )
        addends = [None] * len(b) if bias is None else [number(bits, bias_dtype) for bits in bias]
        return each(lambda x, y, z: result(order(x, y, z), dtype), rows, columns, addends)

    return multiply


def sgbi(shape: tuple[int, int, int], order: str, **parameters: int) -> Order:
    """An order by its name; ``dispatch`` is the one for the shape."""
    return SGBI[dispatched(*shape) if order == "dispatch" else order](**parameters)


exact_mm = product_under(lambda shape, shards=1: exact)  #: however many parts of K it is the sum of
chain_mm = product_under(lambda shape: chain)
tree_mm = product_under(lambda shape, chunk: tree(chunk))
sgbi_mm = product_under(sgbi)


def int_mm(a: Matrix, b: Matrix, bias: Sequence[int] | None = None, **options: Any) -> list[list[int]]:
    """The product of matrices of integers."""
    return each(lambda x, y, z: z + sum(u * v for u, v in zip(x, y, strict=True)), a, b, bias or [0] * len(b))


# Instructions --------------------------------------------------------------------------------------------------------


def instruction_dot(x: Sequence[int], y: Sequence[int], z: int, instruction: str, dtypes: tuple[str, str]) -> Number:
    """What the instructions of one name make of patterns."""
    core = matrixcore if instruction.startswith("cdna") else tensorcore
    return number(core.dot(x, y, z, instruction, dtypes), "float16" if instruction.endswith("acc16") else "float32")


def instruction_mm(
    a: Matrix,
    b: Matrix,
    bias: Sequence[int] | None = None,
    *,
    a_dtype: str,
    b_dtype: str,
    dtype: str,
    instruction: str,
    bias_dtype: str = "",
) -> list[list[int]]:
    """C3 and AMD's: the bias is the first accumulator."""

    def dot(x: Sequence[int], y: Sequence[int], z: int) -> int:
        return result(instruction_dot(x, y, z, instruction, (a_dtype, b_dtype)), dtype)

    return each(dot, a, b, bias or [0] * len(b))


def split_mm(
    a: Matrix,
    b: Matrix,
    bias: Sequence[int] | None = None,
    *,
    a_dtype: str,
    b_dtype: str,
    dtype: str,
    instruction: str,
    chunk: int,
    bias_dtype: str = "float32",
) -> list[list[int]]:
    """C4: leaves of so many terms from +0, joined in float32; the bias last."""

    def dot(x: Sequence[int], y: Sequence[int], z: int | None) -> int:
        parts = [slice(k, k + chunk) for k in range(0, len(x), chunk)]
        total = join([instruction_dot(x[part], y[part], 0, instruction, (a_dtype, b_dtype)) for part in parts])
        return result(total if z is None else plus(total, number(z, bias_dtype)), dtype)

    return each(dot, a, b, bias or [None] * len(b))
