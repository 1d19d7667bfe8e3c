"""Activations of networks, correctly rounded in any scalar format: references for kernels that approximate them."""

from __future__ import annotations

from torch import Tensor

from ..boundary import check_choice
from ..formats import Format
from .operands import evaluated

GELU = {"none": "", "tanh": "_tanh"}  #: what each approximation adds to the name of the row


def sigmoid(x: Tensor, fmt: Format) -> Tensor:
    """The logistic function 1 / (1 + e**-x).

    >>> sigmoid(torch.tensor([1.0, 0.0, -100.0]), refnum.bfloat16)
    tensor([0.7305, 0.5000, 0.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; -Inf gives +0, Inf gives 1; underflow is gradual. Posits: NaR gives NaR, and nothing gives
        0.
    Standard: none.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("sigmoid", fmt, x=x)


def silu(x: Tensor, fmt: Format) -> Tensor:
    """x * sigmoid(x).

    >>> silu(torch.tensor([1.0, -1.0, -100.0]), refnum.bfloat16)
    tensor([ 0.7305, -0.2695, -0.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; 0 gives itself, -Inf gives -0, Inf gives Inf; underflow is gradual. Posits: NaR gives NaR,
        and 0 alone gives 0.
    Standard: none.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("silu", fmt, x=x)


def gelu(x: Tensor, fmt: Format, *, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi(x) being the chance that a normal variable is below x.

    >>> gelu(torch.tensor([1.0, -1.0, -13.0]), refnum.bfloat16)
    tensor([ 8.3984e-01, -1.5820e-01, -7.9346e-38])

    Parameters
    ----------
    approximate : str
        ``none``: Phi is the normal distribution's. ``tanh``: the function 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715
        x**3))) takes its place, itself correctly rounded; the constant is the decimal number.

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    ContractError
        When there is no such approximation.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; 0 gives itself, -Inf gives -0, Inf gives Inf; underflow is gradual. Posits: NaR gives NaR,
        and 0 alone gives 0.
    Standard: none; Hendrycks and Gimpel (2016).
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    check_choice("functions.gelu", "approximate", approximate, GELU)
    return evaluated("gelu", fmt, variant=GELU[approximate], x=x)


def softmax_exp(x: Tensor, m: Tensor, fmt: Format) -> Tensor:
    """e**(x - m), without a rounding in between: a term of a softmax whose largest argument is m.

    >>> softmax_exp(torch.tensor([1.0, 0.1, -torch.inf]), torch.tensor([1.5]), refnum.bfloat16)
    tensor([0.6055, 0.2471, 0.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype does not hold.
    DTypeError
        When the operands are neither codes of the format throughout nor floating-point values of one dtype, or live on
        several devices.
    ShapeError
        When the shapes do not broadcast.
    UncoveredError
        When an operand requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN, and so do two infinities of one sign; x = -Inf or m = Inf gives +0, the opposite Inf;
        overflow follows ``fmt.overflow``, underflow is gradual. Posits: NaR gives NaR, and nothing gives 0.
    Standard: none.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("softmax_exp", fmt, x=x, m=m)
