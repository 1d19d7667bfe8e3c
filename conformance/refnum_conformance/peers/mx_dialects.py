"""Three deployed dialects of block-scaled quantization: their own reference code, run on the CPU, recorded as vectors.

    python -m refnum_conformance.peers.mx_dialects --transformer-engine DIR --flashinfer DIR --compressed-tensors DIR
        --inputs mx_inputs.npz --output vectors/mx_dialects.npz

The directories are checkouts. compressed_tensors is imported and needs what it depends on (loguru, pydantic, psutil,
transformers); of the other two, whose packages need compiled parts, the files of plain torch are loaded by themselves;
one C++ function is compiled with g++.

Keys are ``<input>/<row>/<array>``, where ``<input>`` names an array of the inputs file, except ``stochastic/...`` and
``layout/...``, which carry their own, and ``commit/<repository>``. Arrays are bits:

=========================  ===========================================================================================
``q``, ``s``               codes of elements (4-bit ones packed two a byte, the even index in the low nibble) and scales
``s_f32bits``              scales that the peer keeps in float32
``amax``, ``gs``           what stands for the tensor scale: the largest magnitude, or the factor of the scales
``h``, ``dq``              values, after the Hadamard transform and dequantized
``..._t``                  the same of the transposed tensor
=========================  ===========================================================================================

Not to be compared: the sign of an e4m3 NaN; in ``ct_*`` rows the codes of elements whose scaled value is NaN, and in
``ct_mx*`` rows all blocks with a NaN, where the peer goes by NaN payloads that the processor leaves behind.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Arrays = dict[str, Tensor]

RANDOM = ("randn_bf16", "randn_f32", "lognormal_f32")
ADVERSARIAL = ("adv_bf16", "adv_f32")
EVERY = RANDOM + ADVERSARIAL
UNIT = 448.0 * 6.0  #: the largest magnitude of a tensor whose tensor scale is 1

# Loading a peer's files ----------------------------------------------------------------------------------------------


class _Excerpt(SourceFileLoader):
    """One file by itself: without its imports of its own package, whose names are given instead."""

    definitions: frozenset[str] = frozenset()  #: what to keep of it; everything if empty
    packages = ("flashinfer", "transformer_engine")

    def get_code(self, fullname: str) -> CodeType:
        """The code, which is never cached in the checkout."""
        tree = ast.parse(self.get_data(self.path))
        tree.body = [node for node in tree.body if self._kept(node)]
        return compile(tree, self.path, "exec", dont_inherit=True)

    def _kept(self, node: ast.stmt) -> bool:
        match node:
            case ast.ImportFrom(module=module, level=level):
                return level == 0 and not str(module).startswith(self.packages)
            case ast.Import(names=names):
                return not names[0].name.startswith(self.packages)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                return not self.definitions or name in self.definitions
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return not self.definitions or name in self.definitions
        return not self.definitions


def _load(path: Path, *definitions: str, **given: Any) -> Any:
    loader = _Excerpt(path.stem, str(path))
    loader.definitions = frozenset(definitions)
    spec = importlib.util.spec_from_loader(path.stem, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(given)
    sys.modules[path.stem] = module  # dataclasses look there
    loader.exec_module(module)
    return module


class _Quantizer:
    """Stands for TransformerEngine's base class: it only keeps the two usages."""

    def __init__(self, rowwise: bool, columnwise: bool) -> None:
        self.rowwise_usage, self.columnwise_usage = rowwise, columnwise


@dataclass(frozen=True)
class Peers:
    """What is run of the three repositories."""

    te: Any
    te_stochastic: Callable[[float, int], float]
    fp4: Any  #: flashinfer's test helpers of 4 bits
    fp8: Any  #: its test helpers of 8 bits
    config: Any  #: the module with its record of the choice between two scales
    trace: Any  #: the references of its traces
    python: Any  #: its Python dequantization
    ct: Any


def _peers(te: Path, flashinfer: Path, compressed_tensors: Path) -> Peers:
    recipes = te / "transformer_engine/pytorch/custom_recipes"
    reference = _load(
        recipes / "reference_nvfp4.py",
        gemm=SimpleNamespace(MMParams=None, GEMMType=SimpleNamespace(FPROP=None)),
        reference_utils=_load(recipes / "reference_utils.py"),
        QuantizedTensorStorage=type("QuantizedTensorStorage", (), {}),
        Quantizer=_Quantizer,
    )
    quantization = flashinfer / "flashinfer/quantization"
    layouts = _load(flashinfer / "flashinfer/tllm_enums.py", "SfLayout").SfLayout
    config = _load(quantization / "nvfp4_quantization_utils.py")
    names = {name: getattr(config, name) for name in config.__all__}
    trace_names = "_fp4_e2m1_quantize_block _pack_fp4_pairs _quantize_fp4_block_scale _quantize_mxfp8"
    python_names = "_E2M1_VALUES _e2m1_values_cache _get_e2m1_values _e2m1_and_ufp8sf_scale_to_float_cpu"
    return Peers(
        te=reference,
        te_stochastic=_stochastic(te / "transformer_engine/common/util/ptx.cuh"),
        fp4=_load(flashinfer / "tests/test_helpers/utils_fp4.py", **names),
        fp8=_load(flashinfer / "tests/utils_fp8.py", SfLayout=layouts),
        config=config,
        trace=_load(flashinfer / "flashinfer/trace/templates/quantize.py", *trace_names.split()),
        python=_load(quantization / "fp4_quantization.py", *python_names.split()),
        ct=_compressed_tensors(compressed_tensors),
    )


def _stochastic(header: Path) -> Callable[[float, int], float]:
    """TransformerEngine's stochastic rounding for machines without the instruction, compiled for this one."""
    name = "stochastic_round_fp4_e2m1"
    text = header.read_text()
    start = text.index(f"__device__ __forceinline__ float {name}")
    definition = text[start : text.index("\n}\n", start) + 3]
    with tempfile.TemporaryDirectory() as scratch:
        source, built = Path(scratch) / f"{name}.cpp", Path(scratch) / f"{name}.so"
        head = "#include <math.h>\n#include <stdint.h>\n#define __device__\n#define __forceinline__ static inline\n"
        entry = f'extern "C" float entry(float x, uint32_t bits) {{ return {name}(x, bits); }}\n'
        source.write_text(head + definition + entry)
        subprocess.run(["g++", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-o", built, source], check=True)
        function = ctypes.CDLL(str(built)).entry
    function.argtypes, function.restype = (ctypes.c_float, ctypes.c_uint32), ctypes.c_float
    return function


def _compressed_tensors(checkout: Path) -> Any:
    version = ModuleType("compressed_tensors.version")  # written when a distribution is built
    version.__dict__["__all__"] = []
    sys.modules[version.__name__] = version
    sys.path.insert(0, str(checkout / "src"))
    from compressed_tensors.compressors.mxfp4 import MXFP4PackedCompressor
    from compressed_tensors.compressors.mxfp8 import MXFP8QuantizationCompressor
    from compressed_tensors.compressors.nvfp4 import NVFP4PackedCompressor
    from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    return SimpleNamespace(
        compressors={
            "NVFP4A16": NVFP4PackedCompressor,
            "MXFP4A16": MXFP4PackedCompressor,
            "MXFP8A16": MXFP8QuantizationCompressor,
        },
        scheme=lambda preset: preset_name_to_scheme(preset, ["Linear"]),
        calculate_qparams=calculate_qparams,
        generate_gparam=generate_gparam,
    )


# TransformerEngine ---------------------------------------------------------------------------------------------------


def _te(peers: Peers, x: Tensor, **choices: Any) -> Arrays:
    """A quantizer, over rows and over columns."""
    quantizer = peers.te.NVFP4QuantizerRef(dtype=None, **choices)
    done = quantizer.quantize(x)
    arrays: Arrays = {}
    if quantizer.rowwise_usage:
        arrays |= {"q": done.data, "s": done.scale, "amax_f32bits": done.global_amax_row}
    if quantizer.columnwise_usage:
        arrays |= {"q_t": done.data_t, "s_t": done.scale_t, "amax_t_f32bits": done.global_amax_col}
    if quantizer.with_rht:
        arrays["h"] = quantizer._apply_rht(x.t().contiguous())
    return arrays


def _te_hadamard(peers: Peers, x: Tensor, **choices: Any) -> Arrays:
    """Columns after the Hadamard transform, which takes whole tiles only: zero rows complete the last."""
    return _te(peers, _whole_tiles(x), with_rht=True, rowwise=False, **choices)


def _te_unit(peers: Peers, x: Tensor, tile: tuple[int, int]) -> Arrays:
    """The blocks alone, tensor scale 1; zero rows complete the last tile."""
    return _te_blocks(peers, _whole_tiles(x), tile, pow_2_scales=False)


def _te_powers(peers: Peers, x: Tensor) -> Arrays:
    """Scales that are powers of two. The quantizer itself fails on an undefined name; its blocks are asked directly."""
    arrays = _te_blocks(peers, x, (1, 32), pow_2_scales=True)
    return {"q": arrays["q"], "s_f32bits": arrays["s"]}


def _te_blocks(peers: Peers, x: Tensor, tile: tuple[int, int], pow_2_scales: bool) -> Arrays:
    quantize = peers.te.NVFP4QuantizerRef._quantize_blockwise_reference
    rows, columns = tile
    q, s = quantize(x, torch.tensor([UNIT]), columns, rows, pow_2_scales=pow_2_scales, eps=0.0)
    return {"q": q, "s": s}


def _whole_tiles(x: Tensor) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, -len(x) % 16))


# flashinfer ----------------------------------------------------------------------------------------------------------


def _fi_te(peers: Peers, x: Tensor, amax: float | None = None, per_token: bool = False) -> Arrays:
    """The reference that its tests demand bit for bit of the kernel without fast math."""
    largest = _amax(x, per_token) if amax is None else torch.tensor(amax)
    q, s = peers.fp4.ref_fp4_quant_te(x, largest, per_token_rowwise=per_token)
    return {"q": _codes(q), "s": s, "amax_f32bits": largest}


def _fi_two_scales(peers: Peers, x: Tensor, per_token: bool, **config: Any) -> Arrays:
    """A choice between two scales a block."""
    q, s, scale, _ = peers.fp4.ref_fp4_quant_4over6_te(
        x,
        _amax(x, per_token),
        per_token_rowwise=per_token,
        nvfp4_4over6_config=peers.config.NVFP44Over6Config(**config),
    )
    return {"q": _codes(q), "s": s, "gs_inverse_f32bits": scale}


def _fi_ref(peers: Peers, x: Tensor, size: int, powers: bool, unit: bool) -> Arrays:
    """The older reference, which tests compare with a tolerance."""
    scale = torch.tensor(1.0) if unit else UNIT / _amax(x, per_token=False)
    q, s = peers.fp4.ref_fp4_quant(x, scale, size, powers)
    return {"q": _codes(q), "s_f32bits": s, "gs_f32bits": scale}


def _fi_trace(peers: Peers, x: Tensor, size: int, powers: bool) -> Arrays:
    """The reference of its traces."""
    amax = x.float().abs().nan_to_num().max().clamp(min=1e-12)
    scale = None if powers else (UNIT / amax).reshape(1)
    q, s = peers.trace._quantize_fp4_block_scale(x, size, powers, scale)
    return {"q": q, "s": s} | ({} if scale is None else {"gs_f32bits": scale})


def _fi_trace8(peers: Peers, x: Tensor) -> Arrays:
    q, s = peers.trace._quantize_mxfp8(x)
    return {"q": q, "s": s}


def _fi_mxfp8(peers: Peers, x: Tensor) -> Arrays:
    """The reference that its tests demand bit for bit of all its kernels, scales unshuffled."""
    q, s = peers.fp8.mxfp8_quantize_reference(x, is_sf_swizzled_layout=False)
    return {"q": q, "s": s.reshape(len(x), -1)}


def _fi_dequantize(peers: Peers, x: Tensor) -> Arrays:
    """Values of what `_fi_te` gives."""
    done = _fi_te(peers, x)
    inverse = 1 / (UNIT / done["amax_f32bits"])
    value = peers.python._e2m1_and_ufp8sf_scale_to_float_cpu
    dq = value(done["q"], done["s"].view(torch.uint8), inverse, 16, 1, False)
    return {"gs_inverse_f32bits": inverse, "dq_f32": dq}


def _fi_layouts(peers: Peers, s: Tensor) -> Arrays:
    """The two shuffled layouts of scales, padded with 0."""
    layouts = peers.fp8.SfLayout
    names = {"s_128x4": layouts.layout_128x4, "s_8x4": layouts.layout_8x4}
    return {"s": s} | {key: peers.fp8._swizzle_mxfp8_scales(s, layout) for key, layout in names.items()}


def _amax(x: Tensor, per_token: bool) -> Tensor:
    return x.abs().amax(dim=1 if per_token else (0, 1)).float()


def _codes(values: Tensor) -> Tensor:
    """Packed codes of values of e2m1; NaN has none and gives 0."""
    magnitude = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    code = torch.searchsorted(magnitude, values.abs().nan_to_num(0.0)) | values.signbit().int() << 3
    code = torch.where(values.isnan(), 0, code).to(torch.uint8)
    return code[:, ::2] | code[:, 1::2] << 4


# compressed_tensors --------------------------------------------------------------------------------------------------


def _ct(peers: Peers, x: Tensor, preset: str, tensor_scale: bool = True) -> Arrays:
    """A weight as its compressor stores it: scales by min and max of each group, and its values decompressed."""
    scheme, compressor = peers.ct.scheme(preset), peers.ct.compressors[preset]
    group = x.unflatten(-1, (-1, scheme.weights.group_size))
    least, largest = group.amin(-1), group.amax(-1)
    state = {"weight": x.clone()}
    if preset.startswith("NVFP4"):
        amax = torch.max(largest.max(), -least.min()).reshape(1)
        state["weight_global_scale"] = peers.ct.generate_gparam(-amax, amax) if tensor_scale else torch.ones(1)
    scale, zero = peers.ct.calculate_qparams(least, largest, scheme.weights, state.get("weight_global_scale"))
    stored = compressor.compress(state | {"weight_scale": scale, "weight_zero_point": zero}, scheme)
    packed = "weight_packed" if "weight_packed" in stored else "weight"
    arrays = {"q": stored[packed], "s": stored["weight_scale"]}
    if "weight_global_scale" in stored:
        arrays["gs_f32bits"] = stored["weight_global_scale"]
    return arrays | {"dq_bf16": compressor.decompress(stored, scheme)["weight"].to(torch.bfloat16)}


# The rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One way to quantize: a function of (peers, x), its choices, and the inputs that it is run on."""

    run: Callable[..., Arrays]
    inputs: tuple[str, ...]
    choices: Mapping[str, Any]


def _row(run: Callable[..., Arrays], inputs: tuple[str, ...], **choices: Any) -> Row:
    return Row(run, inputs, choices)


_SQUARE = {"quant_tile_shape": (16, 16)}
_TWO = {"nvfp4_use_4over6": True}
_MSE = {"nvfp4_4over6_err_mode": "MSE", "nvfp4_e4m3_max": 256}

ROWS = {
    "te_1x16": _row(_te, RANDOM),
    "te_1x16_row": _row(_te, EVERY, row_scaled_nvfp4=True, columnwise=False),
    "te_1x16_unit": _row(_te_unit, ADVERSARIAL, tile=(1, 16)),
    "te_16x16": _row(_te, RANDOM, **_SQUARE),
    "te_16x16_unit": _row(_te_unit, ADVERSARIAL, tile=(16, 16)),
    "te_rht": _row(_te_hadamard, ("randn_bf16",)),
    "te_rht_unsigned": _row(_te_hadamard, ("randn_bf16",), with_random_sign_mask=False),
    "te_4over6": _row(_te, RANDOM, **_TWO),
    "te_4over6_mse256": _row(_te, RANDOM, **_TWO, **_MSE, columnwise=False),
    "te_4over6_fast": _row(_te, RANDOM, **_TWO, nvfp4_4over6_err_use_fast_math=True, columnwise=False),
    "te_4over6_row": _row(_te, EVERY, **_TWO, row_scaled_nvfp4=True, columnwise=False),
    "te_4over6_16x16": _row(_te, RANDOM, **_TWO, **_SQUARE),
    "te_pow2_1x32": _row(_te_powers, EVERY),
    "fi_te": _row(_fi_te, RANDOM),
    "fi_te_row": _row(_fi_te, EVERY, per_token=True),
    "fi_te_unit": _row(_fi_te, ADVERSARIAL, amax=UNIT),
    "fi_4over6": _row(_fi_two_scales, RANDOM, per_token=False),
    "fi_4over6_mse256": _row(_fi_two_scales, RANDOM, per_token=False, err_mode="MSE", e4m3_max=256),
    "fi_4over6_fast": _row(_fi_two_scales, RANDOM, per_token=False, err_use_fast_math=True),
    "fi_4over6_row": _row(_fi_two_scales, EVERY, per_token=True),
    "fi_ref16": _row(_fi_ref, RANDOM, size=16, powers=False, unit=False),
    "fi_ref16_unit": _row(_fi_ref, ADVERSARIAL, size=16, powers=False, unit=True),
    "fi_ref32": _row(_fi_ref, EVERY, size=32, powers=True, unit=True),
    "fi_trace16": _row(_fi_trace, RANDOM, size=16, powers=False),
    "fi_trace32": _row(_fi_trace, EVERY, size=32, powers=True),
    "fi_trace_mxfp8": _row(_fi_trace8, EVERY),
    "fi_mxfp8": _row(_fi_mxfp8, EVERY),
    "fi_dequantize": _row(_fi_dequantize, RANDOM),
    "ct_nvfp4": _row(_ct, RANDOM, preset="NVFP4A16"),
    "ct_nvfp4_unit": _row(_ct, ADVERSARIAL, preset="NVFP4A16", tensor_scale=False),
    "ct_mxfp4": _row(_ct, EVERY, preset="MXFP4A16"),
    "ct_mxfp8": _row(_ct, EVERY, preset="MXFP8A16"),
}


def _stochastic_values() -> Array:
    """Bits of scaled elements: each code, the middles and quarters between, their neighbours, and the ends."""
    grid = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0], np.float32)
    between = np.concatenate([grid[:-1] + np.diff(grid) * part / 1024 for part in (1, 256, 511, 512, 513, 768, 1023)])
    bits = np.concatenate([grid, between]).astype(np.float32).view(np.uint32).astype(np.int64)
    bits = np.unique(np.concatenate([bits - 1, bits, bits + 1, [1, 0x7F7FFFFF, 0x7F800000, 0x7FC00000]]).clip(0))
    return np.concatenate([bits, bits | 1 << 31]).astype(np.uint32)


def _rounded_at_random(peers: Peers) -> Arrays:
    """Each value with each of the 256 random bytes."""
    bits = _stochastic_values()
    rounded = [[peers.te_stochastic(float(x), r) for x in bits.view(np.float32)] for r in range(256)]
    values = torch.tensor(rounded)
    return {"x_f32bits": torch.from_numpy(bits.view(np.int32)), "q": _codes(values)}


def _recorded(peers: Peers, inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, Array]]:
    for row, recipe in ROWS.items():
        for name in recipe.inputs:
            for key, tensor in recipe.run(peers, inputs[name], **recipe.choices).items():
                yield f"{name}/{row}/{key}", _bits(tensor)
    for key, tensor in _rounded_at_random(peers).items():
        yield f"stochastic/te_sr/{key}", _bits(tensor)
    scales = torch.arange(130 * 5, dtype=torch.int32).remainder(251).to(torch.uint8).reshape(130, 5)
    for key, tensor in _fi_layouts(peers, scales).items():
        yield f"layout/fi/{key}", _bits(tensor)


def _bits(x: Tensor) -> Array:
    """A tensor as unsigned integers of its width."""
    return x.reshape(-1).view(torch.uint8).numpy().view(f"u{x.element_size()}").reshape(x.shape)


def _inputs(path: Path) -> dict[str, Tensor]:
    dtypes = {np.dtype(np.uint16): torch.bfloat16, np.dtype(np.uint32): torch.float32}
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name].view(np.uint8)).view(dtypes[file[name].dtype]) for name in EVERY}


def _commit(checkout: Path) -> Array:
    found = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return np.array(found.stdout.strip())


def main(arguments: list[str] | None = None) -> None:
    """Run the three peers and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    repositories = ("transformer_engine", "flashinfer", "compressed_tensors")
    for name in (*repositories, "inputs", "output"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    chosen = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)
    arrays = dict(_recorded(_peers(*(chosen[name] for name in repositories)), _inputs(chosen["inputs"])))
    arrays |= {f"commit/{name}": _commit(chosen[name]) for name in repositories}
    np.savez_compressed(chosen["output"], **arrays)


if __name__ == "__main__":
    main()
