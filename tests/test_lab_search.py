"""Searches for formats: bits by counting, fronts against all assignments, studies that fail, stop and go on."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refnum import Block, Codebook, FixedPoint, Logarithmic, Posit, posit16, quantize
from refnum.errors import ContractError, DTypeError, FormatError, MissingExtraError, RefnumError, UncoveredError
from refnum.formats import e2m1, e8m0, mxfp4, mxint, mxint8, named, nf4, nvfp4
from refnum.lab import search
from refnum.lab.search import Trial, benches
from refnum.lab.search.trials import Choice
from refnum.nn import Plan, convert, plans
from refnum.nn.operands import round_weight
from refnum.testing import assert_bit_equal

FORMATS = [Posit(4), mxfp4, mxint8]
IN = torch.linspace(-2, 2, 40, dtype=torch.float32).reshape(2, 20)


class Net(nn.Module):
    """A convolution, a linear layer whose rows are no whole blocks, and one that is left alone by most tests."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)
        self.fc = nn.Linear(72, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(self.conv(x[:, None]).relu().flatten(1)).relu())


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Net().eval()


Evaluate = Callable[[nn.Module], Any]


def against(model: nn.Module) -> Evaluate:
    """How near a model's outputs are to those of this one."""
    want = model(IN).detach()

    def evaluate(other: nn.Module) -> tuple[float, Tensor]:
        loss = (other(IN) - want).square().sum()
        return -round(float(loss.detach()), 2), loss

    return evaluate


class Counting:
    """An evaluator that counts its calls."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate, self.calls = evaluate, 0

    def __call__(self, model: nn.Module) -> Any:
        self.calls += 1
        return self.evaluate(model)


# ---- bits ----------------------------------------------------------------------------------------


def stored_bits(weight: Tensor, fmt: Choice) -> int:
    """Bits by laying the elements of each output into blocks, one by one."""
    if fmt is None:
        return 32 * weight.numel()
    if not isinstance(fmt, Block):
        return fmt.width * weight.numel()  # type: ignore[union-attr]
    rows, columns = fmt.tile
    places = [(i, j) for i, row in enumerate(weight.flatten(1)) for j in range(len(row))]
    scales = {(i // rows, j // columns) for i, j in places}
    return fmt.element.width * len(places) + fmt.scale.width * len(scales)


@pytest.mark.parametrize(
    "fmt", [None, Posit(5), FixedPoint(6, 3), nf4, mxint(3), mxfp4, nvfp4, Block(e2m1, e8m0, (4, 16))], ids=str
)
def test_bits_are_those_that_are_stored(model: nn.Module, fmt: Choice) -> None:
    formats = {"conv": [fmt], "fc": [mxfp4], "head": [None]}
    (trial,) = search.exhaustive(model, formats, lambda _: 0.0)
    layers = {"conv": fmt, "fc": mxfp4, "head": None}
    total = sum(stored_bits(model.get_submodule(name).weight, fmt) for name, fmt in layers.items())
    count = 4 * 3 + 72 * 10 + 10 * 3
    assert trial.bits == total / count
    (unsearched,) = search.exhaustive(model, {"conv": [fmt], "fc": [mxfp4]}, lambda _: 0.0)
    assert unsearched.bits == trial.bits, "what is not searched counts as it is"


def test_nominal_bits_take_all_blocks_for_whole(model: nn.Module) -> None:
    """Rows of 3, 72 and 10 weights: their blocks are not."""
    (trial,) = search.uniform(model, [mxfp4], lambda _: 0.0, nominal=True)
    assert trial.bits == pytest.approx(4.25, rel=1e-15)
    (trial,) = search.uniform(model, [mxfp4], lambda _: 0.0)
    assert trial.bits == 4 + 8 * (4 * 1 + 10 * 3 + 3 * 1) / (12 + 720 + 30)


def test_a_transposed_convolution_and_half_precision() -> None:
    layer = nn.ConvTranspose1d(6, 10, 5, groups=2)  # an output has 3 * 5 terms
    (trial,) = search.uniform(layer, [Block(e2m1, e8m0, 8)], lambda _: 0.0)
    assert trial.bits == 4 + 8 * 10 * 2 / 150
    assert search.sensitivity(layer.half(), [mxfp4], lambda _: 0.0).base.bits == 16


# ---- the models that are evaluated ---------------------------------------------------------------


def test_a_model_is_what_convert_makes(model: nn.Module) -> None:
    choices = [
        mxfp4,
        Plan(weight=mxint8, input=mxfp4),
        Plan(weight=Posit(8), input=Posit(8), product="posit_quire/v1"),
        Plan(weight=FixedPoint(6, 4), input=FixedPoint(8, 4), product="exact/v1"),
        Plan(input=Logarithmic(6), product=posit16),
        None,
    ]
    outputs = []
    trials = search.exhaustive(
        model, {"re:conv|fc": choices, nn.Linear: [mxint(4)]}, lambda m: outputs.append(m(IN).detach()) or 0.0
    )
    assert len(trials) == 36
    for trial, output in zip(trials, outputs, strict=True):
        assert_bit_equal(output, convert(model, trial.plans)(IN).detach())
    assert len({tuple(output.flatten().tolist()) for output in outputs}) > 30


def test_tied_weights_and_attention() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 8), nn.Linear(8, 5)
            self.attention = nn.MultiheadAttention(8, 2)
            self.head.weight = self.embedding.weight

        def forward(self, x: Tensor) -> Tensor:
            y = self.embedding(x)
            return self.head(self.attention(y, y, y)[0])

    torch.manual_seed(0)
    tied, tokens, outputs = Tied().eval(), torch.arange(5), []
    with torch.no_grad():
        trials = search.uniform(tied, [mxfp4, Posit(5)], lambda m: outputs.append(m(tokens)) or 0.0)
        for trial, output in zip(trials, outputs, strict=True):
            assert_bit_equal(output, convert(tied, trial.plans)(tokens))
            assert not torch.equal(output, tied(tokens))


@pytest.mark.parametrize("fmt", [mxfp4, Plan(weight=Posit(5), input=mxint8)], ids=str)
def test_encoders_stay_off_their_native_paths(fmt: Choice) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        encoder = nn.TransformerEncoder(layer, 2).eval()
        x, padding, outputs = torch.randn(2, 3, 8), torch.tensor([[False, False, True], [False] * 3]), []

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            outputs.append(model(x, src_key_padding_mask=padding))
        return 0.0

    (trial,) = search.uniform(encoder, [fmt], evaluate)
    evaluate(convert(encoder, trial.plans))
    assert trial.state == "complete", trial.reason
    assert_bit_equal(*outputs)


def test_the_model_and_the_generators_are_left_alone(model: nn.Module) -> None:
    model.train()
    state = copy.deepcopy(model.state_dict())

    def spoil(other: nn.Module) -> float:
        assert other.training
        for parameter in other.parameters():
            parameter.data.fill_(torch.rand(()).item())
        other.eval()
        return float(torch.rand(()))

    generator = torch.get_rng_state()
    first = search.exhaustive(model, {"conv": FORMATS, "fc": FORMATS}, spoil, seed=7)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    for name, x in model.state_dict().items():
        assert_bit_equal(x, state[name])
    torch.rand(5)
    again = search.exhaustive(model, {"conv": FORMATS, "fc": FORMATS}, spoil, seed=7)
    assert first == again, "the same seed, the same trials"
    assert len({trial.score for trial in first}) == 1, "no trial knows of those before it"
    assert first[0].score != search.exhaustive(model, {"conv": FORMATS}, spoil, seed=8)[0].score


def test_weights_are_rounded_once_for_all_trials(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, in_forward = [], []
    monkeypatch.setattr(
        benches, "round_weight", lambda module, x, fmt: calls.append(fmt) or round_weight(module, x, fmt)
    )
    monkeypatch.setattr(plans, "round_weight", lambda module, x, fmt: in_forward.append(fmt) or x)
    search.exhaustive(model, FORMATS, against(model))
    assert len(calls) == 3 * len(FORMATS)
    assert not in_forward


def test_no_evaluator_reaches_the_kept_weights(model: nn.Module) -> None:
    def spoil(other: nn.Module) -> float:
        found = float(other.fc.weight.detach().double().sum())
        other.fc.weight.data.zero_()
        return found

    trials = search.exhaustive(model, {"conv": FORMATS, "fc": FORMATS}, spoil)
    by_format = [{trial.score for trial in trials if trial.formats["fc"] == fmt} for fmt in FORMATS]
    assert [len(scores) for scores in by_format] == [1, 1, 1]
    assert len(set.union(*by_format) - {0.0}) == 3


# ---- methods -------------------------------------------------------------------------------------


def test_sensitivity_takes_one_layer_at_a_time(model: nn.Module) -> None:
    evaluate = Counting(against(model))
    found = search.sensitivity(model, FORMATS, evaluate)
    assert evaluate.calls == 1 + 3 * len(FORMATS)
    assert found.base.score == 0
    assert found.base.bits == 32
    for name, trials in found.layers.items():
        assert [trial.formats[name] for trial in trials] == FORMATS
        for trial in trials:
            assert {fmt for other, fmt in trial.formats.items() if other != name} == {None}
            want = against(model)(convert(model, {name: Plan(weight=trial.formats[name])}))
            assert (trial.score, trial.loss) == (want[0], float(want[1].detach()))
    assert [trial.number for trial in found.trials] == list(range(10))


LADDER = [Posit(8), Posit(6), Posit(4)]  # bits, and below what each layer loses with them
LOSSES = {"conv": (0.0, 1.0, 9.0), "fc": (0.0, 1.0, 50.0), "head": (0.0, 0.5, 0.5)}


def by_table(model: nn.Module) -> Evaluate:
    """Losses that add up, each from the table: the walk is known beforehand."""
    rounded = {
        (name, fmt): quantize(model.get_submodule(name).weight.detach(), fmt) for name in LOSSES for fmt in LADDER
    }

    def evaluate(other: nn.Module) -> tuple[float, float]:
        loss = 0.0
        for (name, fmt), weight in rounded.items():
            if torch.equal(other.get_submodule(name).weight, weight):
                loss += LOSSES[name][LADDER.index(fmt)]
        return 100 - loss, loss

    return evaluate


def test_greedy_by_hand(model: nn.Module) -> None:
    """Weights 12, 720, 30, so that a rung is 24, 1440 and 60 bits: losses per bit saved in brackets."""
    found = search.sensitivity(model, LADDER, by_table(model))
    walk = list(search.greedy(found))
    moves = [
        next(name for name in LOSSES if one.formats[name] != other.formats[name])
        for one, other in itertools.pairwise(walk)
    ]
    # fc 1/1440, head .5/60, then head 0/60, fc 49/1440, conv 1/24, conv 8/24
    assert moves == ["fc", "head", "head", "fc", "conv", "conv"]
    assert [trial.score for trial in walk] == [100, 99, 98.5, 98.5, 49.5, 48.5, 40.5]
    assert [trial.number for trial in walk] == list(range(7))
    assert (walk[0].bits, walk[-1].bits) == (8, 4)
    assert list(search.greedy(found, min_score=98.5)) == walk[:4]
    assert list(search.greedy(found, min_score=100.5)) == []
    assert list(search.greedy(found, budget_bits=walk[1].bits)) == walk[:2]
    assert list(search.greedy(found, budget_bits=walk[1].bits - 1e-9)) == walk[:3]


def test_of_equal_slopes_the_first_layer_moves(model: nn.Module) -> None:
    found = search.sensitivity(model, LADDER, lambda _: 1.0)
    walk = list(search.greedy(found))
    assert walk[1].formats == {"conv": LADDER[1], "fc": LADDER[0], "head": LADDER[0]}
    assert walk[2].formats["conv"] == LADDER[2]


def test_rungs_with_equally_many_bits_are_one(model: nn.Module) -> None:
    """Of 8 bits the better; without a loss the score says which."""
    formats = [FixedPoint(8, 1), Posit(8), Posit(4)]
    want = quantize(model.fc.weight.detach(), Posit(8))
    found = search.sensitivity(model, {"fc": formats}, lambda m: float(torch.equal(m.fc.weight, want)))
    assert [trial.formats["fc"] for trial in search.greedy(found)] == [Posit(8), Posit(4)]


def dominates(one: Trial, other: Trial) -> bool:
    return one.bits <= other.bits and one.score >= other.score and (one.bits, one.score) != (other.bits, other.score)


def test_a_front_is_what_nothing_dominates(model: nn.Module) -> None:
    trials = search.exhaustive(model, [None, *FORMATS], against(model))
    assert len(trials) == 4**3
    assert [tuple(trial.formats.values()) for trial in trials] == list(itertools.product([None, *FORMATS], repeat=3))
    front = search.pareto(trials)
    points = {(t.bits, t.score) for t in trials if not any(dominates(other, t) for other in trials)}
    assert [(t.bits, t.score) for t in front] == sorted(points)
    assert 2 < len(front) < len(trials)
    greedy = list(search.greedy(search.sensitivity(model, FORMATS, against(model))))
    assert all(any(t == one or not dominates(one, t) for t in front) for one in greedy)
    assert_never_beaten(front, greedy)


def assert_never_beaten(front: list[Trial], trials: list[Trial]) -> None:
    """Whatever a search finds, the front has something as accurate with no more bits."""
    for trial in trials:
        assert any(best.bits <= trial.bits and best.score >= trial.score for best in front), trial


def test_uniform_takes_what_all_layers_can_have(model: nn.Module) -> None:
    formats = {"_default": FORMATS, "fc": [mxint8, nf4, Posit(4)]}
    trials = search.uniform(model, formats, lambda _: 1.0)
    assert [set(trial.formats.values()) for trial in trials] == [{Posit(4)}, {mxint8}]


@pytest.mark.parametrize("sampler", ["RandomSampler", "TPESampler", "NSGAIISampler"])
def test_optuna_never_beats_the_true_front(model: nn.Module, sampler: str, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="needs optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def study(path: Path | None, evaluate: Evaluate, trials: int = 12) -> list[Trial]:
        objective = search.optuna_objective(model, FORMATS, evaluate, path=path)
        made = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=1), directions=list(objective.directions)
        )
        made.optimize(objective, n_trials=trials)
        assert [trial.values for trial in made.trials] == [[t.score, t.bits] for t in objective.trials]
        return objective.trials

    evaluate = Counting(against(model))
    trials = study(None, evaluate)
    assert evaluate.calls == len({json.dumps(t.to_json()[: t.to_json().index("}")]) for t in trials})
    assert {trial.method for trial in trials} == {sampler}
    assert_never_beaten(search.pareto(search.exhaustive(model, FORMATS, against(model))), trials)
    study(tmp_path / "study.jsonl", evaluate, trials=5)
    evaluate.calls = 0
    assert study(tmp_path / "study.jsonl", evaluate) == trials, "resumed is uninterrupted"
    assert evaluate.calls < len(trials) - 3


# ---- what goes wrong -----------------------------------------------------------------------------


def failing(model: nn.Module) -> Callable[[nn.Module], Any]:
    """Raises, or returns NaN or Inf, with some of the formats."""
    rounded = {fmt: quantize(model.fc.weight.detach(), fmt) for fmt in LADDER}

    def evaluate(other: nn.Module) -> float | tuple[float, float]:
        if torch.equal(other.fc.weight, rounded[LADDER[0]]):
            raise RuntimeError("out of memory")
        if torch.equal(other.fc.weight, rounded[LADDER[1]]):
            return math.nan
        return (1.0, math.inf) if torch.equal(other.fc.weight, rounded[LADDER[2]]) else 1.0

    return evaluate


def test_a_failed_trial_says_why_and_the_study_goes_on(model: nn.Module, tmp_path: Path) -> None:
    formats = [*LADDER, Posit(5)]
    trials = search.exhaustive(model, {"fc": formats}, failing(model), path=tmp_path / "study")
    assert [(trial.state, trial.reason) for trial in trials] == [
        ("failed", "RuntimeError: out of memory"),
        ("failed", "evaluate returned nan"),
        ("failed", "evaluate returned (1.0, inf)"),
        ("complete", ""),
    ]
    assert [trial.score for trial in trials] == [None, None, None, 1.0]
    assert search.pareto(trials) == trials[3:]
    evaluate = Counting(failing(model))
    assert search.exhaustive(model, {"fc": formats}, evaluate, path=tmp_path / "study") == trials
    assert evaluate.calls == 0
    walk = search.greedy(search.sensitivity(model, {"fc": formats}, failing(model)))
    assert [trial.formats["fc"] for trial in walk] == [Posit(5)], "what failed is no rung"
    with pytest.raises(FormatError, match="'fc': all of its trials failed"):
        search.greedy(search.sensitivity(model, {"fc": LADDER}, failing(model)))


def test_optuna_takes_failed_trials_as_failed(model: nn.Module) -> None:
    optuna = pytest.importorskip("optuna", reason="needs optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objective = search.optuna_objective(model, {"fc": [Posit(8), Posit(5)]}, failing(model))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), directions=objective.directions)
    study.optimize(objective, n_trials=6)
    states = {trial.params["fc"]: (trial.state.name, trial.user_attrs.get("reason")) for trial in study.trials}
    assert states == {"posit8": ("FAIL", "RuntimeError: out of memory"), "posit(5,2)": ("COMPLETE", None)}
    assert len(objective.trials) == 6


def test_an_interrupted_study_goes_on(model: nn.Module, tmp_path: Path) -> None:
    evaluate, path = Counting(against(model)), tmp_path / "study.jsonl"

    def interrupted(other: nn.Module) -> Any:
        if evaluate.calls == 10:
            raise KeyboardInterrupt
        return evaluate(other)

    with pytest.raises(KeyboardInterrupt):
        search.exhaustive(model, FORMATS, interrupted, path=path)
    assert len(path.read_text().splitlines()) == 1 + 10
    assert evaluate.calls == 10
    trials = search.exhaustive(model, FORMATS, evaluate, path=path)
    assert evaluate.calls == 3**3
    assert trials == search.exhaustive(model, FORMATS, against(model))
    search.uniform(model, FORMATS, evaluate, path=path)
    assert evaluate.calls == 3**3, "other methods find them, too"


@pytest.mark.parametrize("left", [-1, -20, 1, 30], ids=["newline", "trial", "first byte", "head"])
def test_a_line_that_was_being_written_is_tolerated(model: nn.Module, tmp_path: Path, left: int) -> None:
    path = tmp_path / "study.jsonl"
    trials = search.uniform(model, FORMATS, against(model), path=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    evaluate = Counting(against(model))
    assert search.uniform(model, FORMATS, evaluate, path=path) == trials
    assert evaluate.calls == (1 if left < 0 else 3)
    assert path.read_bytes() == whole


def test_each_trial_is_on_disk_at_once(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    path, sizes = tmp_path / "study.jsonl", []
    search.uniform(model, FORMATS, lambda _: sizes.append(path.stat().st_size) or 0.0, path=path)
    assert synced[:3] == sizes
    assert synced[3] == path.stat().st_size


def other_file(model: nn.Module, path: Path, change: str) -> None:
    """Go on with a study of something else."""
    search.uniform(model, FORMATS, lambda _: 1.0, path=path)
    changed = copy.deepcopy(model)
    if change == "model":
        with torch.no_grad():
            changed.head.bias[0].add_(2.0**-20)
    formats = FORMATS[:2] if change == "space" else FORMATS
    options: dict[str, Any] = {"seed": {"seed": 1}, "nominal": {"nominal": True}}.get(change, {})
    search.uniform(changed, formats, lambda _: 1.0, path=path, **options)


@pytest.mark.parametrize("change", ["model", "space", "seed", "nominal"])
def test_a_file_of_other_trials_is_refused(model: nn.Module, tmp_path: Path, change: str) -> None:
    with pytest.raises(FormatError) as caught:
        other_file(model, tmp_path / "study", change)
    assert f"its trials are of another {change}. Allowed are those of the same model, space," in str(caught.value)
    assert str(caught.value).endswith("Choose another path, or give the same.")


def test_a_file_of_something_else_is_refused_and_kept(model: nn.Module, tmp_path: Path) -> None:
    for content in (b"my notes", b"my notes\nand more", b'{"a": 1}\n', b"[]\n", b"\x89PNG\r\n\xff"):
        path = tmp_path / "notes"
        path.write_bytes(content)
        with pytest.raises(FormatError, match="it is no file of trials"):
            search.uniform(model, FORMATS, lambda _: 1.0, path=path)
        assert path.read_bytes() == content
    path = tmp_path / "study"
    search.uniform(model, FORMATS, lambda _: 1.0, path=path)
    head, first, *others = path.read_text().splitlines()
    path.write_text("\n".join([head, first[:30], *others, ""]))
    with pytest.raises(FormatError, match=r"Trial cannot read .* Take the line out\."):
        search.uniform(model, FORMATS, lambda _: 1.0, path=path)


M = Net()
WRONG: dict[str, tuple[Callable[[], object], type[RefnumError], str]] = {
    "no model": (lambda: search.uniform(torch.sum, FORMATS, len), DTypeError,
        "lab.search.uniform needs a torch.nn.Module, got builtin_function_or_method. | Pass the model itself."),
    "no evaluator": (lambda: search.uniform(M, FORMATS, 0.5), DTypeError,
        "lab.search.uniform needs a function for evaluate, got float. | Allowed is what can be called."),
    "no formats": (lambda: search.sensitivity(M, [], len), FormatError,
        "lab.search.sensitivity needs a list of formats for '_default', got []. | Allowed are formats, Plans and None, "
        "at least one. | Pass a list such as"),
    "no keys": (lambda: search.sensitivity(M, {}, len), FormatError,
        "lab.search.sensitivity needs formats, got {}. | Allowed are a list, or lists by layer. | at least one"),
    "a format alone": (lambda: search.sensitivity(M, mxfp4, len), FormatError, "needs a list of formats"),
    "none for a layer": (lambda: search.exhaustive(M, {"fc": []}, len), FormatError,
        "lab.search.exhaustive needs a list of formats for 'fc', got []."),
    "no format": (lambda: search.exhaustive(M, ["mxfp4"], len), FormatError,
        "lab.search.exhaustive has no choice 'mxfp4' for '_default'. | Allowed are formats, Plans and None. | Pass"),
    "twice": (lambda: search.exhaustive(M, [mxfp4, mxfp4], len), FormatError,
        "lab.search.exhaustive got mxfp4 twice for '_default'. | Each counts once. | Leave one out."),
    "no layer": (lambda: search.exhaustive(M, {"fcc": FORMATS}, len), FormatError,
        "lab.search.exhaustive got the key 'fcc', which matches no layer. | 'conv' (Conv1d), 'fc' (Linear) | Choose"),
    "no layers": (lambda: search.exhaustive(nn.ReLU(), FORMATS, len), FormatError, "Layers with products are: none."),
    "out of reach": (lambda: search.exhaustive(nn.LSTM(2, 2), FORMATS, len), UncoveredError,
        "lab.search.exhaustive cannot give '' (LSTM) a plan"),
    "does not fit": (lambda: search.exhaustive(Net().half(), [posit16], len), FormatError, "float16 to posit16"),
    "blocks in double": (lambda: search.exhaustive(Net().double(), [nvfp4], len), DTypeError, "float64"),
    "a scale format": (lambda: search.exhaustive(M, [e8m0], len), FormatError, "cannot write e8m0"),
    "beyond the limit": (lambda: search.exhaustive(M, FORMATS, len, limit=26), FormatError,
        "lab.search.exhaustive has 27 assignments of formats to 3 layers. | Allowed are limit=26. | Raise it, or"),
    "nothing in common": (lambda: search.uniform(M, {"fc": [mxfp4], "_default": [nf4]}, len), FormatError,
        "lab.search.uniform needs a format that all layers can have, got conv, fc, head with none in common. | Pass"),
    "no score": (lambda: search.uniform(M, FORMATS, lambda _: "good"), DTypeError,
        "lab.search.uniform needs a score from evaluate, got 'good'. | Allowed are a number, or a tuple | Return one"),
    "nothing": (lambda: search.uniform(M, FORMATS, lambda _: None), DTypeError, "got None."),
    "three numbers": (lambda: search.uniform(M, FORMATS, lambda _: (1, 2, 3)), DTypeError, "got (1, 2, 3)."),
    "many numbers": (lambda: search.uniform(M, FORMATS, lambda _: torch.ones(2)), DTypeError, "a number"),
    "no sensitivities": (lambda: search.greedy([]), DTypeError,
        "lab.search.greedy needs Sensitivities, got list. | Pass what lab.search.sensitivity returns."),
    "no budget": (lambda: search.greedy(search.sensitivity(M, [mxint8], lambda _: 1.0), budget_bits=8), FormatError,
        "lab.search.greedy cannot reach budget_bits=8: the narrowest formats have 8. | Allowed are budgets from there"),
    "NaN budget": (lambda: search.greedy(search.sensitivity(M, [mxint8], lambda _: 1.0), budget_bits=math.nan),
        FormatError, "cannot reach budget_bits=nan"),
    "no trial": (lambda: Trial.from_json('{"formats": {}}'), FormatError,
        "Trial cannot read '{\"formats\": {}}': | Allowed is what to_json writes. | Take the line out."),
    "nothing to draw": (lambda: search.plot([]), FormatError,
        "lab.search.plot needs complete trials of 1 to 6 methods, got 0 of 0. | Pass those of a few"),
    "no theme": (lambda: search.plot([Trial({}, 4, 1.0)], theme="sepia"), ContractError,
        "lab.search.plot has no theme='sepia'. Choose one of light, dark."),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_bad_input(name: str) -> None:
    call, error, words = WRONG[name]
    if "draw" in name or "theme" in name:
        pytest.importorskip("matplotlib")
    with pytest.raises(error) as caught:
        call()
    for part in words.split(" | "):
        assert part in str(caught.value)


# ---- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice",
    [
        *(fmt for fmt in named().values() if fmt != e8m0),
        *(mxint(5, rule="ceil"), FixedPoint(8, 4, signed=False), Block(e2m1, e8m0, (4, 8))),
        *(Codebook((-1, 0, 1)), Codebook((-3, 1), codes=(1, 0), name="mine"), None),
        Block(Codebook((-1, 0, 1), name="mine"), e8m0, 8),
        *(Plan(weight=mxint8, input=Posit(8), product=posit16), Plan(input=nf4, product="exact/v1"), Plan()),
    ],
    ids=str,
)
def test_trials_are_text_and_back(choice: Choice) -> None:
    trial = Trial({"a": choice, "": Posit(3)}, 1 / 3, 0.1, -1e-300, method="x", number=4)
    assert Trial.from_json(trial.to_json()) == trial
    failed = Trial({"a": choice}, 4, state="failed", reason='"\n')
    assert Trial.from_json(failed.to_json()) == failed
    assert "\n" not in failed.to_json()


def test_progress_shows_and_changes_nothing(
    model: nn.Module, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = search.uniform(model, FORMATS, lambda _: 1.0)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert search.uniform(model, FORMATS, lambda _: 1.0, progress=True) == quiet
    assert capsys.readouterr().err == "\runiform  1/3\runiform  2/3\runiform  3/3\n"
    monkeypatch.undo()
    pytest.importorskip("rich")
    assert search.uniform(model, FORMATS, lambda _: 1.0, progress=True) == quiet
    assert "uniform" in capsys.readouterr().out


def test_without_the_extra(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError) as caught:
        search.optuna_objective(model, FORMATS, len)
    for part in ("lab.search.optuna_objective needs optuna", "the extra 'search'. Run: python -m pip install"):
        assert part in str(caught.value)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "refnum.lab.plot", raising=False)
    monkeypatch.delattr(sys.modules["refnum.lab"], "plot", raising=False)
    with pytest.raises(MissingExtraError, match="needs matplotlib"):
        search.plot([Trial({}, 4, 1.0)])
    assert search.greedy(search.sensitivity(model, FORMATS, lambda _: 1.0)) is not None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture(theme: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    walk = [Trial({"a": Posit(n)}, n, 0.5 + n / 20, method="greedy") for n in (8, 4, 6)]
    alike = [Trial({"a": Posit(n)}, n, 0.4 + n / 20, method="uniform") for n in (4, 8)]
    cloud = [Trial({}, 4 + n / 100, 0.5, method="exhaustive") for n in range(201)]
    failed = [Trial({}, 2, state="failed", method="TPESampler")]
    trials = [*walk, *alike, *cloud, *failed, *(Trial({}, n, 0.6, method="x") for n in (5, 7))]
    figure = search.plot(trials, tmp_path / "search.png", reference=0.95, theme=theme)
    (axes,) = figure.axes
    lines: Mapping[str, Any] = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["greedy", "uniform", "front", "as it is"]
    assert list(lines["greedy"].get_xdata()) == [4, 6, 8]
    assert list(lines["front"].get_xdata()) == [4, 6, 8], "the others are dominated"
    assert set(lines["as it is"].get_ydata()) == {0.95}
    assert [len(marks.get_offsets()) for marks in axes.collections] == [201, 2]
    assert axes.get_xlabel() == "bits per weight, scales included"
    low, high = axes.get_ylim()
    assert low < 0.7 < 0.95 < high
    assert (tmp_path / "search.png").read_bytes()[:4] == b"\x89PNG"


# ---- the experiment ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    return runpy.run_path(str(Path(__file__).parents[1] / "examples" / "format_search.py"))


def test_digits_in_a_few_formats(example: dict[str, Any]) -> None:
    """The experiment in small: three formats, two layers of the five."""
    parts = example["load"]()
    assert [len(part.labels) for part in parts] == [942, 315, 540]
    model = example["network"](parts.train, epochs=3)

    def evaluate(model: nn.Module) -> tuple[float, float]:
        return example["measured"](model, parts.validation)

    formats = {"re:[05]": [mxint(width) for width in (2, 4, 8)], "_default": [mxint8]}
    true = search.pareto(search.exhaustive(model, formats, evaluate))
    sensitivities = search.sensitivity(model, formats, evaluate)
    assert_never_beaten(true, list(search.greedy(sensitivities)))
    assert true[-1].score >= sensitivities.base.score - 0.05
    assert true[0].bits < 8 < sensitivities.base.bits == 32


@pytest.mark.slow
def test_searches_against_all_assignments(example: dict[str, Any]) -> None:
    """Of five layers in six formats: no sampler beats the truth, and greedy is near it."""
    pytest.importorskip("optuna", reason="needs optuna")
    parts = example["load"]()
    base, found = example["searched"](example["network"](parts.train), parts.validation, exhaustive=True)
    true = search.pareto(found["exhaustive"])
    assert len(found["exhaustive"]) == 6**5
    for name in ("uniform", "random", "TPE", "NSGA-II", "greedy"):
        assert_never_beaten(true, found[name])
    for loss in example["LOSSES"]:
        best, walked = (example["cheapest"](trials, base.score - loss) for trials in (true, found["greedy"]))
        assert best.bits <= walked.bits <= best.bits + 0.15
    counts = {"0": 144, "2": 4608, "5": 32768, "7": 2048, "9": 320}
    for trial in found["exhaustive"][::97]:
        bits = {name: fmt.element.width + 8 / 32 for name, fmt in trial.formats.items()}
        want = sum(counts[name] * bits[name] for name in counts) / sum(counts.values())
        assert trial.bits == pytest.approx(want, rel=1e-14)
