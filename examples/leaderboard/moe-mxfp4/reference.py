"""A mixture of experts in MXFP4: each token goes through a few experts, and every product has both sides quantized.

An expert is ``down(silu(gate(x)) * up(x))``; the rows of ``gate_up`` are those of gate, then those of up. Activations
are quantized as by aiter's ``dynamic_mxfp4_quant``, weights as by its ``per_1x32`` with scales rounded up. Sizes are
filled up to multiples of 256 in the weights; what they hold there never counts. Scales have experts and rows in one
axis, [experts * n, k / 32], as aiter's quantizer leaves them.
"""

import torch
from torch.nn.functional import linear, pad, silu

from refnum import mx, mx_mm, mxfp4, testing

PROFILE = "aiter/v2"
ALIGNMENT = 256


def generate_input(
    dhidden: int, dexpert: int, nroutedexperts: int, nexpertspertoken: int, nsharedexperts: int, bs: int, seed: int
):
    """Hidden states, weights and scales as they are and shuffled, the routing of every token, and the sizes."""
    random = torch.Generator().manual_seed(seed)  # on the CPU: the same data on every machine
    device = "cuda" if torch.cuda.is_available() else "cpu"
    hidden_pad, expert_pad = (-(-size // ALIGNMENT) * ALIGNMENT for size in (dhidden, dexpert))
    experts = nroutedexperts + nsharedexperts

    def normal(*shape, fan_in=1):
        return (torch.randn(shape, generator=random) / fan_in**0.5).bfloat16().to(device)

    hidden = normal(bs, dhidden)
    scores = linear(hidden.float(), normal(nroutedexperts, dhidden, fan_in=dhidden).float()).softmax(-1)
    weights, ids = scores.topk(nexpertspertoken)
    shared = torch.arange(nroutedexperts, experts, device=device).expand(bs, -1)
    ids = torch.cat([ids, shared], -1).int()
    weights = torch.cat([weights, torch.ones_like(shared, dtype=torch.float32)], -1)

    gate_up = mx.quantize(
        normal(experts, 2 * expert_pad, hidden_pad, fan_in=dhidden), mxfp4, profile=PROFILE, scale="rceil"
    )
    down = mx.quantize(normal(experts, hidden_pad, expert_pad, fan_in=dexpert), mxfp4, profile=PROFILE, scale="rceil")
    (gate_up_q, gate_up_s), (down_q, down_s) = gate_up.to_torch(), down.to_torch()
    gate_up_s, down_s = gate_up_s.flatten(0, 1), down_s.flatten(0, 1)
    return (
        hidden,
        *(gate_up_q, down_q, gate_up_s, down_s),
        *map(mx.shuffle_weight, (gate_up_q, down_q)),
        *map(mx.shuffle_scale, (gate_up_s, down_s)),
        *(weights, ids),
        {
            "d_hidden": dhidden,
            "d_expert": dexpert,
            "d_hidden_pad": hidden_pad,
            "d_expert_pad": expert_pad,
            "n_routed_experts": nroutedexperts,
            "n_shared_experts": nsharedexperts,
            "n_experts_per_token": nexpertspertoken,
            "total_top_k": nexpertspertoken + nsharedexperts,
            "bs": bs,
        },
    )


def product(x, elements, scales):
    """x [tokens, k], rounded to MXFP4, times an expert's weights [n, k / 2], summed exactly, in float32."""
    weight = mx.Blocks(elements, scales, mxfp4, (len(elements), x.shape[-1]))
    return mx_mm(mx.quantize(x, mxfp4, profile=PROFILE), weight, contract="exact/v1", out_dtype=torch.float32)


def expert(x, gate_up, down, size):
    """One expert on its tokens; ``size`` is its width, without what fills it up."""
    gate, up = product(x, *gate_up).chunk(2, -1)
    inner = (silu(gate) * up).bfloat16()
    inner[:, size:] = 0
    return product(inner, *down)


def ref_kernel(data):
    """Every expert on the tokens that are routed to it; a token's results are added up in float32."""
    hidden, gate_up, down, gate_up_scale, down_scale, *_, weights, ids, config = data
    x = pad(hidden, (0, config["d_hidden_pad"] - config["d_hidden"]))
    gate_up_scale, down_scale = (scale.view(len(gate_up), -1, scale.shape[-1]) for scale in (gate_up_scale, down_scale))
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for e in ids.unique().tolist():
        token, rank = (ids == e).nonzero(as_tuple=True)
        y = expert(x[token], (gate_up[e], gate_up_scale[e]), (down[e], down_scale[e]), config["d_expert"])
        total[token] += weights[token, rank, None] * y
    return total[:, : config["d_hidden"]].bfloat16()


check_implementation = testing.checker(ref_kernel, rtol=5e-2, atol=5e-2)
