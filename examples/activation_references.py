"""How far torch's own activations in bfloat16 and float16 are from the correctly rounded results, at all 65,536 inputs.

A kernel that approximates exp or gelu needs a reference that is right, not another approximation: one to say "at most
1 ulp" of, over every input that there is. ``refnum.functions`` is that. Distances are counted in ulp of the result.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from refnum import Minifloat, bfloat16, decode, e4m3, float16, functions
from refnum.testing import ulp_distance

F = torch.nn.functional
DTYPES = {torch.bfloat16: bfloat16, torch.float16: float16}
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Minifloat], Tensor]]] = {
    "exp": (torch.exp, functions.exp),
    "tanh": (torch.tanh, functions.tanh),
    "sigmoid": (torch.sigmoid, functions.sigmoid),
    "silu": (F.silu, functions.silu),
    "gelu": (F.gelu, functions.gelu),
    "gelu tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x, fmt: functions.gelu(x, fmt, approximate="tanh"),
    ),
    "rsqrt": (torch.rsqrt, functions.rsqrt),
    # What a kernel's author may write by hand: every step in the dtype.
    "silu by steps": (lambda x: x / (1 + (-x).exp()), functions.silu),
    "gelu by steps": (lambda x: 0.5 * x * (1 + (x / 2**0.5).erf()), functions.gelu),
}


def every_input(dtype: torch.dtype) -> Tensor:
    """All values of a 16-bit dtype but NaN."""
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(dtype)
    return x[~x.isnan()]


def main() -> None:
    """Print a row for each function and dtype: how many results are not the nearest, and how far the worst is off."""
    print(f"{'function':<15}{'dtype':<9}{'inputs':>8}{'NaN':>6}{'not nearest':>13}{'most ulp':>10}  at")
    for dtype, fmt in DTYPES.items():
        x = every_input(dtype)
        for name, (approximate, correct) in FUNCTIONS.items():
            got, want = approximate(x), correct(x, fmt)
            lost = got.isnan() & ~want.isnan()
            distance = ulp_distance(got, want).masked_fill(lost, 0)
            wrong, worst = int((distance > 0).sum()), int(distance.argmax())
            row = f"{name:<15}{fmt!s:<9}{len(x):>8,}{int(lost.sum()):>6}{wrong:>13,}{int(distance[worst]):>10,}"
            values = (f"{t[worst].item():.5g}" for t in (x, got, want))
            print(row + "  {}: {}, not {}".format(*values) * (wrong > 0))

    # Codes of any other format go in as integers: here is the table of all 256 results in e4m3.
    table = functions.gelu(torch.arange(256, dtype=torch.uint8), e4m3)
    print(f"gelu in e4m3 of 1 and -1: {decode(table[[0x38, 0xB8]], e4m3).tolist()}")


if __name__ == "__main__":
    main()
