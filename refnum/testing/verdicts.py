"""Kernels checked in the form that leaderboards ask for: whether an output passes, and a message on how close it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, INTEGERS, check_format, check_tensor
from ..errors import ContractError, DTypeError
from ..fast.chunks import elementwise
from ..formats import Format
from .reports import STEPS
from .ulp import FARTHEST, NATIVE, comparable, ulp_distance

SHOWN = 5  #: mismatches that a message shows, the largest errors first
BREAK = r"\n"  #: between the lines of a message: a backslash and an n, because the harness has one line for a message
RTOL, ATOL = 1e-5, 1e-8  #: the harness's own, and torch.allclose's, where no bound is given


class _Bounds(NamedTuple):
    """What every element has to keep; None is no bound."""

    rtol: float | None
    atol: float | None
    ulp: int | None

    def __str__(self) -> str:
        return ", ".join(f"{name} {bound}" for name, bound in self._asdict().items() if bound is not None)


def checker(
    ref_kernel: Callable[[Any], Any],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    ulp: int | None = None,
    fmt: Format | None = None,
) -> Callable[[Any, Any], tuple[bool, str]]:
    r"""A function (data, output) -> (ok, message) that compares a kernel's output with a reference, element by element.

    >>> check_implementation = checker(lambda data: 2 * data, rtol=1e-2, atol=1e-2)
    >>> x = torch.tensor([1.0, 300.0, -7.0], dtype=torch.bfloat16)
    >>> check_implementation(x, torch.tensor([2.0, 604.0, -14.0], dtype=torch.bfloat16))
    (True, 'Maximum error: 4.0\\nULP 0: 2  1: 1  2: 0  3: 0  >=4: 0  largest 1 at (1,)')
    >>> ok, message = check_implementation(x, torch.tensor([2.0, 640.0, -14.0], dtype=torch.bfloat16))
    >>> print(ok, message.replace(r"\n", "\n"), sep="\n")
    False
    mismatched 1 of 3 (33.33 %) by rtol 0.01, atol 0.01
    at (1,): got 640, want 600, error 40, 10 ULP
    ULP 0: 2  1: 0  2: 0  3: 0  >=4: 1  largest 10 at (1,)

    Parameters
    ----------
    ref_kernel : callable
        Takes the data and returns the right output: a tensor, or a list or tuple of them.
    rtol, atol : float, optional
        The harness's tolerance: an element is wrong where ``|got - want| > atol + rtol * |want|``, the left side in
        float32, the right side in the dtype of want, or where one of the two is NaN, Inf or -Inf and the other is not.
        One alone leaves the other at 0; without any bound they are 1e-5 and 1e-8.
    ulp : int, optional
        How many ULP an element may be away. Next to a tolerance both must hold.
    fmt : Posit or Minifloat, optional
        The format of integer codes. They have no tolerance but ``ulp``, which is then 0 unless given.

    Returns
    -------
    callable
        Takes data and output. Every element counts. The message has one line, because the harness's protocol has one
        for it: what would be lines is joined by a backslash and an n.

    Raises
    ------
    ContractError
        When a bound is negative or not finite, ``ulp`` is no whole number, or codes are given a tolerance.
    DTypeError
        When ``ref_kernel`` cannot be called; and, from the function, when it returns something else than tensors. What
        is wrong with an output is never an error but a message.

    Exactness: model of the harness's tolerance rule; distances in ULP are bit-exact.
    Rounding: none.
    Special: a NaN equals any NaN and an Inf itself, with error 0; +0 and -0 are equal.
    Standard: none.
    Cost: the reference's, and O(numel) time and memory.
    """
    if not callable(ref_kernel):
        raise DTypeError(
            f"checker needs a function for ref_kernel, got {type(ref_kernel).__name__}. "
            "It takes the data and returns the right output. Pass the function itself."
        )
    if fmt is not None:
        check_format("checker", fmt)
    bounds = _bounds(rtol, atol, ulp, fmt)

    def check_implementation(data: Any, output: Any) -> tuple[bool, str]:
        """Whether the output is that of the reference, and how close."""
        with torch.no_grad():
            ok, lines = _judged(output, ref_kernel(data), bounds, fmt)
        return ok, BREAK.join(lines)

    return check_implementation


def _bounds(rtol: float | None, atol: float | None, ulp: int | None, fmt: Format | None) -> _Bounds:
    for name, bound in (("rtol", rtol), ("atol", atol), ("ulp", ulp)):
        number = isinstance(bound, int if name == "ulp" else (int, float)) and not isinstance(bound, bool)
        if bound is not None and not (number and 0 <= bound < FARTHEST):
            raise ContractError(
                f"checker cannot allow {name}={bound!r}. Allowed is {'an int' if name == 'ulp' else 'a number'} "
                "of 0 or more, below 2**63 - 1. Leave it out for no such bound."
            )
    if fmt is not None and (rtol, atol) != (None, None):
        raise ContractError(
            f"checker has no tolerance for codes of {fmt}, got rtol={rtol!r}, atol={atol!r}. "
            "Codes are compared in ULP. Leave both out and give ulp, or decode output and reference first."
        )
    match fmt, rtol, atol, ulp:
        case None, None, None, None:
            return _Bounds(RTOL, ATOL, None)
        case _, None, None, _:
            return _Bounds(None, None, ulp or 0)
        case _:
            return _Bounds(rtol or 0.0, atol or 0.0, ulp)


# ---- the comparison --------------------------------------------------------------------------------------------------


def _judged(got: Any, want: Any, bounds: _Bounds, fmt: Format | None) -> tuple[bool, list[str]]:
    """The verdict and its lines; of a list of outputs all must be right."""
    if not isinstance(want, (list, tuple)):
        return _compared(got, want, bounds, fmt)
    if not isinstance(got, (list, tuple)) or len(got) != len(want):
        found = f"{len(got)} outputs" if isinstance(got, (list, tuple)) else type(got).__name__
        return False, [f"SIZE MISMATCH: got {found}, want a list of {len(want)}"]
    verdicts = [_judged(g, w, bounds, fmt) for g, w in zip(got, want, strict=True)]
    lines = [f"output {i}: {line}" for i, (_, text) in enumerate(verdicts) for line in text]
    return all(ok for ok, _ in verdicts), lines


def _compared(got: Any, want: Any, bounds: _Bounds, fmt: Format | None) -> tuple[bool, list[str]]:
    check_tensor("checker", "the result of ref_kernel", want)
    comparable("checker", want, want, fmt, False)
    if want.dtype in NATIVE:
        raise DTypeError(
            f"checker has no tolerance for {want.dtype}, the dtype of ref_kernel's result. Allowed are float16, "
            f"bfloat16, float32, float64 and integers. View results as uint8 and pass fmt={NATIVE[want.dtype]}."
        )
    if refusal := _refusal(got, want, bounds):
        return False, [refusal]
    got, want = got.detach(), want.detach()
    error = (got.float() - want.float()).abs()
    error = error.masked_fill(_both(got, want), 0.0)
    apart = _distances(got, want, fmt)
    bad = _outside(got, want, error, apart, bounds)
    ulp_line = _spread(apart) if apart is not None else f"no ULP: got {got.dtype}, want {want.dtype}"
    if not bad.any():
        return True, [f"Maximum error: {float(error.max()) if error.numel() else 0.0}", ulp_line]
    count, total = int(bad.count_nonzero()), bad.numel()
    return False, [
        f"mismatched {count:,} of {total:,} ({100 * count / total:.2f} %) by {bounds}",
        *_worst(got, want, error, apart, bad),
        *(["..."] if count > SHOWN else []),
        ulp_line,
    ]


def _refusal(got: Any, want: Tensor, bounds: _Bounds) -> str | None:
    """Why an output cannot be compared at all."""
    if not isinstance(got, Tensor) or got.layout != torch.strided:
        return f"got {type(got).__name__ if not isinstance(got, Tensor) else got.layout}, want a dense tensor"
    if got.shape != want.shape:
        return f"SIZE MISMATCH: got {tuple(got.shape)}, want {tuple(want.shape)}"
    if got.device != want.device:
        return f"got a tensor on {got.device}, want it on {want.device}"
    if got.dtype not in (*FLOAT_ROWS, *INTEGERS, torch.bool) or (bounds.ulp is not None and got.dtype != want.dtype):
        return f"got {got.dtype}, want {want.dtype}"
    return None


def _outside(got: Tensor, want: Tensor, error: Tensor, apart: Tensor | None, bounds: _Bounds) -> Tensor:
    """Mask of the elements that leave a bound."""
    bad = torch.zeros_like(error, dtype=torch.bool)
    if bounds.rtol is not None and bounds.atol is not None:
        size = want.to(torch.uint8) if want.dtype == torch.bool else want.abs()
        bad |= error > bounds.atol + bounds.rtol * size  # the right side in the dtype of want, as the harness has it
        for is_special in (torch.isnan, torch.isposinf, torch.isneginf):
            bad |= is_special(got) ^ is_special(want)
    if bounds.ulp is not None and apart is not None:
        bad |= apart > bounds.ulp
    return bad


def _both(got: Tensor, want: Tensor) -> Tensor:
    """Where the two are NaN, or the same Inf: their difference is NaN, their error 0."""
    return (got.isnan() & want.isnan()) | (got.isinf() & (got == want))


def _distances(got: Tensor, want: Tensor, fmt: Format | None) -> Tensor | None:
    """Distances in ULP, where the two have one dtype."""
    if got.dtype != want.dtype:
        return None
    return elementwise(lambda x, y: ulp_distance(x, y, fmt), got, want, dtype=torch.int64)


# ---- the message -----------------------------------------------------------------------------------------------------


def _spread(apart: Tensor) -> str:
    """The histogram of distances, and the largest."""
    flat = apart.reshape(-1)
    counts = torch.bincount(flat.clamp(max=STEPS), minlength=STEPS + 1).tolist()
    bins = (*(f"{i}: " for i in range(STEPS)), f">={STEPS}: ")
    text = "  ".join(f"{name}{count:,}" for name, count in zip(bins, counts, strict=True))
    if sum(counts) == counts[0]:
        return f"ULP {text}"
    place = int(flat.argmax())
    return f"ULP {text}  largest {_steps(int(flat[place]))} at {_index(place, apart.shape)}"


def _worst(got: Tensor, want: Tensor, error: Tensor, apart: Tensor | None, bad: Tensor) -> list[str]:
    """A line for each of the largest errors."""
    where = bad.reshape(-1).nonzero().view(-1)
    sizes = error.reshape(-1)[where].nan_to_num(nan=math.inf)
    lines = []
    for place in where[sizes.argsort(descending=True, stable=True)[:SHOWN]].tolist():
        index = _index(place, bad.shape)
        ulp = "" if apart is None else f", {_steps(int(apart[index]))} ULP"
        values = (f"{name} {float(x[index]):.9g}" for name, x in (("got", got), ("want", want), ("error", error)))
        lines.append(f"at {index}: {', '.join(values)}{ulp}")
    return lines


def _steps(distance: int) -> str:
    return f"{distance:,}" if distance < FARTHEST else "uncounted"


def _index(place: int, shape: torch.Size) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(place, device="cpu"), shape))
