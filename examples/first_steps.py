"""Posits on tensors in a few lines: values, patterns, arithmetic, an exact dot product, a matrix product."""

import torch

import refnum
from refnum import posit, posit16


def main() -> None:
    """Print what each of them gives."""
    x = torch.tensor([3.14159, 1e-20, float("inf")])

    # Values rounded to a format, in the dtype they came in.
    print(refnum.quantize(x, posit16))

    # Patterns: two's complement integers. They sort like the values; NaR, the pattern of inf, is the least.
    patterns = refnum.encode(x, posit16)
    print([f"{p & 0xFFFF:#06x}" for p in patterns.tolist()], posit.to_decimal(patterns, posit16))

    # Arithmetic of the standard on patterns, every result rounded once.
    one = posit.from_int(torch.tensor([1]), posit16)
    three = posit.from_int(torch.tensor([3]), posit16)
    print(refnum.decode(posit.div(one, three, posit16), posit16))

    # The quire: a dot product whose partial sums are exact. In float32 the 1 is lost.
    a, b = torch.tensor([1e8, 1.0, -1e8]), torch.ones(3)
    print(refnum.quire_dot(a, b, posit16), a @ b)

    # The same for matrices, batched and broadcast like torch.matmul, with gradients.
    w = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = refnum.posit_mm(x[None, :2].expand(4, 2), w[:2], posit16)
    y.sum().backward()
    print(y.shape, w.grad)


if __name__ == "__main__":
    main()
