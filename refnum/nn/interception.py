"""Running a model in an arithmetic: two nets around torch, one above autograd and one below.

Above, a function mode sees the public calls (F.linear, torch.matmul, x @ y ...) with and without gradients and in
inference mode alike, and hands the covered ones to an `Arithmetic`, whose derivatives autograd then knows. Below, a
dispatch mode sees every operation that any other code reaches (C++ layers, scripted modules, ``out=`` variants): what
has products there was not computed as asked, so it is refused or, if so chosen, counted.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import FrameType, FunctionType, TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from ..boundary import FLOAT_ROWS, check_choice, check_posit, is_dual
from ..errors import DTypeError, UncoveredError
from ..formats import Posit
from ..sums.posits import MODES
from .arithmetic import Arithmetic, PositArithmetic
from .attention import body_of, multi_head
from .coverage import Handler, Refusal, covered, has_products, namespace
from .triad import AUTOCAST_DEVICES


class Count(NamedTuple):
    """How often an operation was called."""

    handled: int  #: computed in the format, or by the contract
    native: int  #: computed by torch


def intercept(fmt: Posit, *, mode: str = "quire", uncovered: str = "raise", backward: str = "float32") -> Interception:
    """A context in which every matrix product of a model is computed in a posit format, or refused by name.

    >>> layer = torch.nn.Linear(3, 2)
    >>> with intercept(Posit(8)) as ctx, torch.no_grad():
    ...     y = layer(torch.ones(1, 3))
    >>> ctx.counts
    {'linear': Count(handled=1, native=0)}

    Covered are mm, addmm, bmm, baddbmm, addbmm, mv, addmv, dot, vdot, inner, matmul, linalg.vecdot, tensordot, einsum,
    F.linear, convolutions in 1 to 3 dimensions (groups, dilation, every padding, transposed), and
    F.scaled_dot_product_attention and F.multi_head_attention_forward as their products. With and without gradients, in
    inference mode, for any memory layout. A bias is part of the sum. Autocast is off inside. Left alone are tensors of
    integers, whose products are exact, products element by element, and what solves or decomposes matrices.

    Contexts nest, the innermost computes. They hold for the thread that entered them: a thread started inside is not
    covered and not counted. A graph that was recorded outside keeps its own products in backward(); those that are seen
    are counted as ``<operation> in backward``. Kernels that are no operations of torch are not seen.

    Parameters
    ----------
    fmt : Posit
        The format. Tensors keep their dtype, which must hold it.
    mode : str
        As in `posit_mm`: quire, and the others that it has.
    uncovered : str
        What happens to an operation with products that cannot be computed in the format: ``raise`` an UncoveredError,
        or ``report``: torch computes it, and ``ctx.counts`` and ``ctx.report()`` list it as native.
    backward : str
        Products of the gradients: ``float32``, by torch in the model's dtype with the rounded operands, or ``format``,
        each gradient one sum rounded once. It belongs to the products, not to the place where backward() is called.

    Returns
    -------
    Interception
        The context manager. ``counts`` maps an operation to (handled, native); ``report()`` is the same as a table.

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format; inside, when a tensor's dtype does not hold it.
    ContractError
        When there is no such mode, uncovered or backward.
    UncoveredError
        Inside: at an operation that is not covered.

    Exactness: bit-exact; each product of a covered operation is one `posit_mm`.
    Rounding: as `posit_mm` in this mode; softmax, scaling, masks, dropout and sums without products stay in the dtype.
    Special: as `posit_mm`; the zeros of padding are true zeros, in ``cuposit`` clipped as all zeros are.
    Standard: Posit Standard (2022) 5.11.
    Cost: that of `posit_mm`; convolutions hold their windows.
    """
    check_posit("nn.intercept", fmt)
    check_choice("nn.intercept", "mode", mode, MODES)
    check_choice("nn.intercept", "uncovered", uncovered, ("raise", "report"))
    check_choice("nn.intercept", "backward", backward, ("float32", "format"))
    return Interception(PositArithmetic(fmt, mode, backward), uncovered)


class Interception:
    """What `intercept` and `deterministic` return: the context manager, and afterwards the account of what it saw."""

    def __init__(self, arithmetic: Arithmetic, uncovered: str) -> None:
        self.arithmetic, self.uncovered = arithmetic, uncovered
        self._handled: Counter[str] = Counter()
        self._native: Counter[str] = Counter()
        self._here = _Here()

    @property
    def counts(self) -> dict[str, Count]:
        """Operation -> (handled, native), in the order of first calls."""
        names = dict.fromkeys([*self._handled, *self._native])
        return {name: Count(self._handled[name], self._native[name]) for name in names}

    def report(self) -> str:
        """The counts as a table.

        >>> print(intercept(Posit(8)).report())
        posit8, mode quire, backward float32
        no products
        """
        head, column = str(self.arithmetic), self.arithmetic.column
        if not self.counts:
            return f"{head}\nno products"
        width = max(map(len, ["operation", *self.counts]))
        rows = [("operation", column, "native"), *((name, *count) for name, count in self.counts.items())]
        return "\n".join(
            [head, *(f"{name:<{width}}  {handled:>{len(column)}}  {native:>6}" for name, handled, native in rows)]
        )

    __str__ = report

    def __enter__(self) -> Interception:
        self._here.refused = None
        with ExitStack() as stack:
            stack.enter_context(_autocast_off())
            entry = _Entry(self)
            stack.enter_context(_shadow(entry))
            stack.enter_context(_Net(entry))
            stack.enter_context(_Calls(entry))
            self._here.exits.append(stack.pop_all())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._here.exits.pop().close()
        if self._here.refused is not None and error is not None and "TorchScript" in str(error):
            raise self._here.refused from error  # its interpreter has lost type and text

    def count_handled(self, name: str) -> None:
        """One more call that was computed as asked."""
        self._handled[name] += 1

    def leave_to_torch(self, name: str, reason: str) -> None:
        """One more call of an operation that is not covered: an error, or counted."""
        if self.uncovered == "raise":
            self._here.refused = UncoveredError(
                f"{self.arithmetic.function} does not cover {name}: {reason}. Covered are the operations that its "
                "documentation lists. Write it with them, call it outside of the context, or choose "
                "uncovered='report'.",
                op=name,
                reason=reason,
            )
            raise self._here.refused
        self._native[name] += 1

    def count_foreign(self, name: str) -> None:
        """One more product in the backward pass of a graph that was not recorded here."""
        self._native[f"{name} in backward"] += 1


class _Here(threading.local):
    """What each thread that has entered a context knows by itself."""

    def __init__(self) -> None:
        self.exits: list[ExitStack] = []
        self.refused: UncoveredError | None = None


class _Entry:
    """One stay in a context, in one thread."""

    def __init__(self, interception: Interception) -> None:
        self.interception = interception
        self.shadows = 0  #: contexts inside this one, or computations of its own: it looks away


@contextmanager
def _looking_away(entry: _Entry) -> Iterator[None]:
    entry.shadows += 1
    try:
        yield
    finally:
        entry.shadows -= 1


@contextmanager
def _shadow(entry: _Entry) -> Iterator[None]:
    """The next outer context looks away: the innermost computes, once."""
    stack = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    outer = next((mode for mode in reversed(stack) if isinstance(mode, _Calls)), None)
    if outer is None:
        yield
    else:
        with _looking_away(outer.entry):
            yield


@contextmanager
def _autocast_off() -> Iterator[None]:
    with ExitStack() as stack:
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


# ---- above autograd ------------------------------------------------------------------------------


class Sight(NamedTuple):
    """What is to be done with a function of torch."""

    name: str
    handler: Handler | None = None  #: computes it
    parts: bool = False  #: a Python function: its parts are seen when its body runs
    products: bool = False  #: has products


PASSES = (torch.autograd.backward, torch.autograd.grad, Tensor.backward)  #: they run other people's Python functions


@lru_cache(maxsize=4096)
def _sight(function: object) -> Sight:
    name = str(getattr(function, "__name__", "")).partition(".")[0]
    if function in PASSES:
        return Sight(name, parts=True)
    if namespace(function) == "refnum":
        return Sight(name)
    handler = covered(function)
    if isinstance(function, FunctionType):
        return Sight(name, parts=has_products(name), products=has_products(name))
    return Sight(name, handler, products=handler is not None or has_products(name))


class _Calls(TorchFunctionMode):
    """The net above autograd."""

    def __init__(self, entry: _Entry) -> None:
        super().__init__()
        self.entry = entry

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, sight = kwargs or {}, _sight(func)
        if self.entry.shadows or not (sight.products or sight.parts) or _is_called_by_refnum():
            return func(*args, **kwargs)
        if sight.parts and not any(map(_has_its_own_way, types)):
            with self:
                return _run_body(func, args, kwargs)
        if not sight.products or not _has_values(args, kwargs):
            return func(*args, **kwargs)
        return self._computed(sight, func, args, kwargs)

    def _computed(self, sight: Sight, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        here, run, reason = self.entry.interception, self.entry.interception.arithmetic, ""
        try:
            _check_call(sight, args, kwargs)
            for x in _tensors(args, kwargs):
                if x.dtype in FLOAT_ROWS:
                    run.check_held(run.function, sight.name, x.dtype)
            result = self._handled(sight, func, args, kwargs)
        except DTypeError:
            with _looking_away(self.entry):
                func(*args, **kwargs)  # dtypes that torch refuses, too: a TypeError would not get out of ``a @ b``
            raise
        except Refusal as refusal:
            result, reason = None, str(refusal)
        if result is not None:
            here.count_handled(sight.name)
            return result
        if reason:
            here.leave_to_torch(sight.name, reason)
        with _looking_away(self.entry):
            return func(*args, **kwargs)

    def _handled(self, sight: Sight, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        """The result, once torch itself has accepted the arguments: on tensors without data."""
        assert sight.handler is not None
        with _looking_away(self.entry):
            expected = func(*tree_map_only(Tensor, _without_data, args), **tree_map_only(Tensor, _without_data, kwargs))
        result = sight.handler(self.entry.interception.arithmetic, *args, **kwargs)
        assert result is None or result.shape == expected.shape
        return result


def _run_body(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    return (
        multi_head(args, kwargs) if func is functional.multi_head_attention_forward else body_of(func)(*args, **kwargs)
    )


def _has_its_own_way(kind: type) -> bool:
    """Whether a tensor subclass wants to see calls itself."""
    way = getattr(kind, "__torch_function__", None)
    return getattr(way, "__func__", way) not in PLAIN_WAYS


PLAIN_WAYS = (vars(Tensor)["__torch_function__"].__func__, torch._C._disabled_torch_function_impl)


def _without_data(x: Tensor) -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _is_called_by_refnum() -> bool:
    """Whether refnum's own Python code asks: a formula of a derivative, say, whose products are as documented there."""
    frame = sys._getframe(2)
    while frame.f_back and (frame.f_code.co_name == "__torch_function__" or _module(frame) == "torch._ops"):
        frame = frame.f_back  # another mode that passes the call on
    rooms = _module(frame).split(".")
    return rooms[0] == "refnum" and rooms[:2] != ["refnum", "nn"]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _tensors(args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    return [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]


def _has_values(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operand is a floating-point or complex tensor; products of integers are exact as they are."""
    return any(x.is_floating_point() or x.is_complex() or x.is_quantized for x in _tensors(args, kwargs))


def _check_call(sight: Sight, args: Any, kwargs: dict[str, Any]) -> None:
    if sight.handler is None:
        raise Refusal("its products are computed inside torch, out of reach")
    if kwargs.get("out") is not None:
        raise Refusal("out= writes into a tensor of the caller's")
    kwargs.pop("out", None)
    for x in _tensors(args, kwargs):
        if _has_its_own_way(type(x)):
            raise Refusal(f"an operand is a {type(x).__name__}, which has its own way with operations")
        if x.layout != torch.strided or x.is_nested:
            raise Refusal(f"an operand is {'nested' if x.is_nested else x.layout}; covered are dense tensors")
        if (x.is_floating_point() or x.is_complex()) and x.dtype not in FLOAT_ROWS:
            raise Refusal(f"an operand is {x.dtype}; covered are float16, bfloat16, float32 and float64")
        if is_dual(x):
            raise Refusal("an operand is a dual tensor; covered are derivatives in backward mode")


# ---- below autograd ------------------------------------------------------------------------------


class _Net(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The net below autograd."""

    def __init__(self, entry: _Entry) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entry = entry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs, name = kwargs or {}, func._opname
        if self.entry.shadows or func.namespace == "refnum":
            return func(*args, **kwargs)
        if not has_products(name):
            return self._decomposed(func, args, kwargs)
        if _has_values(args, kwargs):
            self._account(name)
        with _looking_away(self.entry):
            return func(*args, **kwargs)

    def _decomposed(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What is no more than other operations (inference mode leaves it whole) runs as those, and they are seen."""
        if not _is_composite(func):
            return func(*args, **kwargs)
        with self:
            return func._op_dk(COMPOSITE, *args, **kwargs)

    def _account(self, name: str) -> None:
        """A product that the other net has not seen: of a graph from elsewhere, or not covered."""
        here, node = self.entry.interception, _current_node()
        if node is None:
            here.leave_to_torch(name, "its products are computed inside torch, out of reach")
        elif "refnum" not in node.name():
            here.count_foreign(name)


COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


@lru_cache(maxsize=4096)
def _is_composite(func: Any) -> bool:
    """Whether torch itself computes an operation by calling others; decompositions in Python round differently."""
    return func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE)


def _current_node() -> Any:
    """The node of the graph that is running backward, None in a forward pass (which torch's stubs don't tell)."""
    return torch._C._current_autograd_node()
