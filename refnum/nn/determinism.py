"""Running a model under contracts: every product of matrices has the bits that they say, on any machine."""

from __future__ import annotations

import torch

from ..boundary import check_choice
from .arithmetic import ContractArithmetic
from .interception import Interception
from .triad import Gradients, Name, check_trainable, triad_of


def deterministic(
    contract: Name = "chain/v1", *, grad_contract: Gradients | None = None, uncovered: str = "raise"
) -> Interception:
    """A context in which every matrix product of a model follows a contract, or is refused by name.

    >>> layer = torch.nn.Linear(3, 2)
    >>> with deterministic("chain/v1") as ctx, torch.no_grad():
    ...     y = layer(torch.ones(1, 3))
    >>> print(ctx.report())
    chain/v1, gradients: input chain/v1, weight exact/v1, bias exact/v1
    operation  by contract  native
    linear               1       0

    Covered is what `nn.intercept` covers: mm, addmm, bmm, baddbmm, addbmm, mv, addmv, dot, vdot, inner, matmul,
    linalg.vecdot, tensordot, einsum, F.linear, convolutions in 1 to 3 dimensions (groups, dilation, every padding,
    transposed), and F.scaled_dot_product_attention and F.multi_head_attention_forward as their products. With and
    without gradients, in inference mode, for any memory layout. Refused are products inside of C++ layers (RNN, LSTM,
    GRU, cdist, bilinear ...), tensors that the contract does not take, and alpha and beta that would round in between.
    Autocast is off inside. Contexts nest, the innermost computes; they hold for the thread that entered them.

    **A sum that is no product is torch's own**: softmax, layer_norm, batch_norm, mean, sum, cumsum, a loss, an FFT,
    embedding_bag, the gradient of an embedding or of a broadcast, and where windows of a convolution overlap in second
    derivatives. Their bits can depend on shapes, thread counts and machines. So do element-wise functions such as exp,
    from machine to machine. Batch invariance of a whole model asks for those, too: on one machine they add up each row
    by itself as long as torch splits no row among threads, which `testing.assert_invariant` can show.

    Parameters
    ----------
    contract : str or Contract
        As in `refnum.gemm`; for products of float16, bfloat16, float32 or float64 that it takes and returns. A bias is
        part of the sum where the contract has one.
    grad_contract : str, Contract or mapping, optional
        As in `nn.linear`: of a product ``a @ b + c``, ``input`` is for the gradient of a (which is summed over the
        columns of b), ``weight`` for that of b (over the rows of a, in F.linear and in convolutions those of the whole
        batch), ``bias`` for that of c.
    uncovered : str
        What happens to an operation with products that cannot follow the contract: ``raise`` an UncoveredError, or
        ``report``: torch computes it, and ``ctx.counts`` and ``ctx.report()`` list it as native.

    Returns
    -------
    Interception
        The context manager. ``counts`` maps an operation to (handled, native); ``report()`` is the same as a table.

    Raises
    ------
    ContractError
        When there is no such contract, one has no gradients, or there is no such uncovered. Inside: when a contract
        does not take a tensor's dtype.
    UncoveredError
        Inside: at an operation that is not covered, or a shape that a replay of another library does not cover.

    Exactness: bit-exact by contract; each product of a covered operation, and of its gradients, is one `refnum.gemm`.
    Rounding: by contract; then once to the dtype. Scaling, masks, softmax, dropout and sums stay in the dtype.
    Special: as `refnum.gemm`; the zeros of padding are terms of the sum.
    Standard: IEEE 754-2019 section 5.4.1 for fma; contracts are refnum's.
    Cost: that of `refnum.gemm`; convolutions hold their windows.
    """
    check_trainable("nn.deterministic", triad_of("nn.deterministic", contract, grad_contract, torch.float32))
    check_choice("nn.deterministic", "uncovered", uncovered, ("raise", "report"))
    return Interception(ContractArithmetic(contract, grad_contract), uncovered)
