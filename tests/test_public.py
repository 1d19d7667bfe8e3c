"""The public names, where they live, and how they are called."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import refnum
from refnum import Quire, formats, functions, lab, mx, nn, posit, testing

#: Others' checks call these, so they stay.
NAMES = """
__version__ formats functions lab mx nn posit testing
Posit Minifloat DMF FixedPoint Logarithmic Codebook Block posit8 posit16 posit32 posit64 nf4 takum8 takum16
e2m1 e2m3 e3m2 e4m3 e5m2 e4m3fnuz e5m2fnuz e8m0 float16 bfloat16 tf32
mxfp4 mxfp6_e2m3 mxfp6_e3m2 mxfp8_e4m3 mxfp8_e5m2 mxint8 nvfp4
encode decode quantize Quire quire_dot posit_mm mx_mm scaled_mm status use_backend
gemm exact_partial ExactPartial row_parallel_mm column_parallel_mm
RefnumError FormatError ShapeError DTypeError ContractError NonFiniteError UncoveredError BackendError
MissingExtraError MismatchError
""".split()

POSIT_NAMES = """
add sub mul div sqrt fmm fma negate abs sign nearest_int ceil floor next prior
compare_equal compare_not_equal compare_greater compare_greater_equal compare_less compare_less_equal
convert to_float to_int from_int to_decimal from_decimal Quire
r_sqrt exp exp_minus1 exp2 exp2_minus1 exp10 exp10_minus1 log log_plus1 log2 log2_plus1 log10 log10_plus1
sin sin_pi cos cos_pi tan tan_pi arc_sin arc_sin_pi arc_cos arc_cos_pi arc_tan arc_tan_pi
sin_h cos_h tan_h arc_sin_h arc_cos_h arc_tan_h hypot pow arc_tan2 arc_tan2_pi compound root_n
""".split()

FUNCTION_NAMES = """
sqrt rsqrt reciprocal exp expm1 exp2 exp2m1 exp10 exp10m1 log log1p log2 log2p1 log10 log10p1
sin sinpi cos cospi tan tanpi asin asinpi acos acospi atan atanpi sinh cosh tanh asinh acosh atanh
hypot pow atan2 atan2pi compoundn rootn sigmoid silu gelu softmax_exp
""".split()

QUIRE_NAMES = "from_posit to_posit negate abs add_posit sub_posit add sub mul_add mul_sub".split()

MX_NAMES = """
Blocks PROFILES LAYOUTS quantize dequantize pack4 unpack4 pack6 unpack6 pack_mxint8 unpack_mxint8 random_bits
shuffle_weight unshuffle_weight shuffle_scale unshuffle_scale to_blocked from_blocked shuffle unshuffle
""".split()

TESTING_NAMES = """
cases assert_any_order assert_bit_equal assert_invariant assert_ulp checker diagnose reveal ulp_distance
""".split()

NN_NAMES = """
intercept convert Plan linear Linear deterministic accumulate parallelize scaled_dot_product_attention
""".split()

SEARCH = "(model, formats, evaluate, *, nominal=False, seed=0, path=None, progress=False)"

SIGNATURES = {
    "Posit": "(n, es=2)",
    "encode": "(x, fmt, *, rounding='nearest_even', random_bits=None)",
    "decode": "(bits, fmt, *, dtype=torch.float64)",
    "quantize": "(x, fmt, *, rounding='nearest_even', random_bits=None, grad='identity')",
    "posit_mm": "(a, b, fmt, *, mode='quire', c=None, out_dtype=None, grad='rounded', alpha=1.0, beta=0.0, k_pad=8)",
    "quire_dot": "(a, b, fmt)",
    "mx_mm": "(a, b, bias=None, *, contract='exact/v1', out_dtype=torch.bfloat16)",
    "gemm": "(a, b, bias=None, *, contract='chain/v1', out_dtype=None)",
    "exact_partial": "(a, b, bias=None)",
    "row_parallel_mm": "(a, b, bias=None, *, out_dtype=None, group=None)",
    "column_parallel_mm": "(a, b, bias=None, *, contract='chain/v1', out_dtype=None, group=None)",
    "scaled_mm": "(mat_a, mat_b, scale_a, scale_recipe_a, scale_b, scale_recipe_b, swizzle_a=None, swizzle_b=None, "
    "bias=None, output_dtype=torch.bfloat16, contraction_dim=(), use_fast_accum=False, *, contract='exact/v1')",
    "mx.quantize": "(x, fmt, *, profile='ocp', scale=None, rounding=None, axis=-1, pad=False, tensor_scale=None, "
    "random_bits=None)",
    "mx.tensor_scale": "(x, fmt, *, profile='ocp')",
    "mx.hadamard": "(x, signs, *, size=16)",
    "mx.dequantize": "(blocks, dtype=torch.float32)",
    "mx.Blocks": "(elements, scales, fmt, shape, axis=-1, tensor_scale=None)",
    "mx.pack4": "(codes)",
    "mx.unpack4": "(packed)",
    "mx.pack6": "(codes)",
    "mx.unpack6": "(packed)",
    "mx.pack_mxint8": "(x, group=32)",
    "mx.unpack_mxint8": "(mantissas, scales, group=32, *, kernel=False)",
    "mx.random_bits": "(seed, offset, shape, *, device='cpu')",
    "mx.shuffle_weight": "(x, layout=(16, 16))",
    "mx.unshuffle_weight": "(x, layout=(16, 16))",
    "mx.shuffle_scale": "(x, pad=0)",
    "mx.unshuffle_scale": "(y, shape)",
    "mx.to_blocked": "(x)",
    "mx.from_blocked": "(y, shape)",
    "mx.shuffle": "(x, name, *, pad=None)",
    "mx.unshuffle": "(y, name, shape)",
    "Quire": "(fmt, shape=(), *, device=None)",
    "use_backend": "(name)",
    "status": "()",
    **{f"posit.{name}": "(a, b, fmt)" for name in "add sub mul div".split()},
    **{f"posit.{name}": "(a, b, c, fmt)" for name in "fmm fma".split()},
    **{f"posit.{name}": "(a, fmt)" for name in "sqrt negate abs sign nearest_int ceil floor next prior".split()},
    **{f"posit.{name}": "(a, b, fmt)" for name in POSIT_NAMES if name.startswith("compare_")},
    **{f"posit.{name}": "(a, fmt)" for name in POSIT_NAMES[POSIT_NAMES.index("r_sqrt") : POSIT_NAMES.index("hypot")]},
    **{f"posit.{name}": "(a, b, fmt)" for name in "hypot pow arc_tan2 arc_tan2_pi".split()},
    **{f"posit.{name}": "(a, k, fmt)" for name in "compound root_n".split()},
    **{f"functions.{name}": "(x, fmt)" for name in FUNCTION_NAMES},
    **{f"functions.{name}": "(x, y, fmt)" for name in "hypot pow".split()},
    **{f"functions.{name}": "(y, x, fmt)" for name in "atan2 atan2pi".split()},
    **{f"functions.{name}": "(x, k, fmt)" for name in "compoundn rootn".split()},
    "functions.gelu": "(x, fmt, *, approximate='none')",
    "functions.softmax_exp": "(x, m, fmt)",
    "posit.convert": "(bits, from_fmt, to_fmt)",
    "posit.to_float": "(bits, fmt, dtype=torch.float64)",
    "posit.to_int": "(bits, fmt, width=32, signed=True)",
    "posit.from_int": "(i, fmt, sentinel=True)",
    "posit.to_decimal": "(bits, fmt)",
    "posit.from_decimal": "(text, fmt)",
    "nn.intercept": "(fmt, *, mode='quire', uncovered='raise', backward='float32')",
    "nn.convert": "(model, plans)",
    "nn.linear": "(x, weight, bias=None, *, contract='chain/v1', grad_contract=None)",
    "nn.Linear": "(in_features, out_features, bias=True, *, contract='chain/v1', grad_contract=None, device=None, "
    "dtype=None)",
    "nn.deterministic": "(contract='chain/v1', *, grad_contract=None, uncovered='raise')",
    "nn.accumulate": "(parameters, *, group=None)",
    "nn.parallelize": "(layer, group=None, *, style, sharded=False)",
    "nn.scaled_dot_product_attention": "(query, key, value, fmt, *, weights=None, attn_mask=None, is_causal=False, "
    "scale=None, enable_gqa=False, tile=None, contract='exact/v1')",
    "nn.Plan": "(weight=None, input=None, product=None)",
    "testing.assert_any_order": "(got, a, b, bias=None, *, accumulator='float32', bound='likely')",
    "testing.assert_bit_equal": "(got, want, *, fmt=None, packed=False, operands=None)",
    "testing.assert_ulp": "(got, want, *, ulp, fmt=None, packed=False, operands=None)",
    "testing.ulp_distance": "(got, want, fmt=None, *, packed=False)",
    "testing.diagnose": "(got, want, operation=None, *operands, **options)",
    "testing.reveal": "(fn, *, kind='matmul', terms=64, rows=(1, 4, 16), columns=16, dtype=torch.float32, bias=None, "
    "against=None, reach=1024, device='cpu')",
    "lab.search.sensitivity": SEARCH,
    "lab.search.uniform": SEARCH,
    "lab.search.exhaustive": SEARCH.replace("*, ", "*, limit=10000, "),
    "lab.search.optuna_objective": SEARCH.replace(", progress=False", ""),
    "lab.search.greedy": "(sensitivities, *, budget_bits=None, min_score=None)",
    "lab.search.pareto": "(trials)",
    "lab.search.plot": "(trials, path=None, *, reference=None, title='Score against bits', theme='light')",
    "testing.checker": "(ref_kernel, *, rtol=None, atol=None, ulp=None, fmt=None)",
}


def test_the_names_are_those_promised() -> None:
    assert set(NAMES) <= set(refnum.__all__)
    assert sorted(refnum.__all__) == dir(refnum)
    assert len(set(refnum.__all__)) == len(refnum.__all__)
    assert set(POSIT_NAMES) <= set(posit.__all__)
    assert set(FUNCTION_NAMES) <= set(functions.__all__)
    assert set(NN_NAMES) <= set(nn.__all__)
    assert set(MX_NAMES) <= set(mx.__all__)
    assert set(TESTING_NAMES) <= set(testing.__all__)
    assert all(callable(getattr(Quire, name)) for name in QUIRE_NAMES)


@pytest.mark.parametrize("module", [refnum, functions, mx, nn, posit, testing, lab.search], ids=lambda m: m.__name__)
def test_every_name_is_there_and_only_those(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    values = {name: getattr(module, name) for name in names}
    defined_here = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith("refnum")
        and inspect.isroutine(value)
    }
    assert defined_here <= values.keys()


def test_a_name_is_the_thing_in_its_room() -> None:
    for name, home in refnum._HOMES.items():
        assert getattr(refnum, name) is getattr(importlib.import_module(f"refnum.{home}"), name)


def test_a_row_is_one_object_however_many_of_its_family_are_made() -> None:
    takum8, k8p3se = refnum.takum8, formats.p3109_k8p3se
    formats.takum.cache_clear()
    formats.p3109.cache_clear()
    assert formats.takum8 is takum8
    assert formats.p3109_k8p3se is k8p3se


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'refnum' has no attribute 'posit128'$"):
        refnum.posit128  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(refnum.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        for alias in statement.names:
            assert alias.asname == alias.name, "a re-export is written `x as x`"
            seen[alias.name] = statement.module
    assert seen == dict.fromkeys(refnum._MODULES) | refnum._HOMES


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    function = refnum
    for part in name.split("."):
        function = getattr(function, part)
    parameters = [
        p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(function).parameters.values()
    ]
    assert str(inspect.Signature(parameters)) == SIGNATURES[name]


def test_every_function_has_its_signature_here() -> None:
    public = {name for name in refnum.__all__ if inspect.isfunction(getattr(refnum, name))}
    for module in (functions, mx, nn, posit, lab.search):
        room = module.__name__.removeprefix("refnum.")
        public |= {f"{room}.{name}" for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    assert public <= SIGNATURES.keys()


def test_the_format_is_positional_and_has_no_default() -> None:
    for name, signature in SIGNATURES.items():
        if "fmt" in signature and not name.startswith(("testing", "mx.Blocks")):
            positional = signature.strip("()").split(", *")[0].split(", ")
            assert {"fmt", "to_fmt"} & set(positional), name


def test_no_module_bears_the_name_of_a_function_beside_it() -> None:
    for package in (refnum, functions, lab, lab.search, mx, nn, posit, testing):
        modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
        assert not {name for name in modules & set(package.__all__) if not inspect.ismodule(getattr(package, name))}


def test_every_module_says_what_it_is() -> None:
    silent = [
        path
        for path in Path(refnum.__file__).parent.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(refnum.__file__).parent / "py.typed").exists()
