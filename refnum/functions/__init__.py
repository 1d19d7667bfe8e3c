"""Functions of real numbers on tensors, correctly rounded in every scalar format; those that C23 has bear its names.

Every function takes an integer tensor of codes and gives codes in the format's container dtype; or it takes float16,
bfloat16, float32 or float64, reads the values exactly, and gives values of the format in the same dtype, which must
hold them all. Operands broadcast as torch does. There are no gradients.
"""

from .. import codec  # noqa: F401 - first, for it looks for kernels, and their rooms import rooms of this one
from .activations import gelu, sigmoid, silu, softmax_exp
from .exponentials import exp, exp2, exp2m1, exp10, exp10m1, expm1, log, log1p, log2, log2p1, log10, log10p1
from .hyperbolics import acosh, asinh, atanh, cosh, sinh, tanh
from .powers import compoundn, hypot, pow, reciprocal, rootn, rsqrt, sqrt
from .trigonometry import (
    acos,
    acospi,
    asin,
    asinpi,
    atan,
    atan2,
    atan2pi,
    atanpi,
    cos,
    cospi,
    sin,
    sinpi,
    tan,
    tanpi,
)

__all__ = [
    "acos",
    "acosh",
    "acospi",
    "asin",
    "asinh",
    "asinpi",
    "atan",
    "atan2",
    "atan2pi",
    "atanh",
    "atanpi",
    "compoundn",
    "cos",
    "cosh",
    "cospi",
    "exp",
    "exp10",
    "exp10m1",
    "exp2",
    "exp2m1",
    "expm1",
    "gelu",
    "hypot",
    "log",
    "log10",
    "log10p1",
    "log1p",
    "log2",
    "log2p1",
    "pow",
    "reciprocal",
    "rootn",
    "rsqrt",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "sinpi",
    "softmax_exp",
    "sqrt",
    "tan",
    "tanh",
    "tanpi",
]
