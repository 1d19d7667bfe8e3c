"""refnum's own kernel: it reads the shuffled weights, and goes token by token."""

import torch
from task import input_t, output_t
from torch.nn.functional import pad, silu

from refnum import mx, mx_mm, mxfp4


def custom_kernel(data: input_t) -> output_t:
    """Each token's experts, weighted and added up."""
    hidden, *_, gate_up, down, gate_up_scales, down_scales, weights, ids, config = data
    gate_up, down = unshuffled(gate_up, gate_up_scales), unshuffled(down, down_scales)
    x = pad(hidden, (0, config["d_hidden_pad"] - config["d_hidden"]))
    rows = []
    for token, chosen, factors in zip(x[:, None], ids.tolist(), weights, strict=True):
        results = [expert(token, gate_up[e], down[e], config["d_expert"]) for e in chosen]
        rows.append(factors[None] @ torch.cat(results))
    return torch.cat(rows)[:, : config["d_hidden"]].bfloat16()


def unshuffled(elements, scales):
    """The weights [n, k] of each expert."""
    experts, n, half = elements.shape
    scales = mx.unshuffle_scale(scales, (experts * n, half // 16)).view(experts, n, -1)
    pairs = zip(mx.unshuffle_weight(elements), scales, strict=True)
    return [mx.Blocks(*pair, mxfp4, (n, 2 * half)) for pair in pairs]


def expert(x, gate_up, down, size):
    """One expert on one token; ``size`` is its width, without what fills it up."""
    gate, up = product(x, gate_up).chunk(2, -1)
    inner = silu(gate) * up
    inner[:, size:] = 0
    return product(inner, down)


def product(x, weight):
    """x, rounded to bfloat16 and MXFP4, times the weights, in float32."""
    left = mx.quantize(x.bfloat16(), mxfp4, profile="aiter/v2")
    return mx_mm(left, weight, contract="unversioned/torch.mm", out_dtype=torch.float32)
