"""A row that is scored alone and in a batch of 64: the same bits under a contract, whatever torch does by itself.

A server puts requests together as they come. Which kernel multiplies, and so in which order it adds, often depends on
how many there are; then a model's answer to one request depends on the others. Training with answers that were sampled
elsewhere meets the same: the probabilities are not those that were sampled from.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

import refnum
from refnum.nn import deterministic

CONTRACTS = ("chain/v1", "tree/v1(Kc=256)", "exact/v1", "tc.hopper.tf32/v1")


def scores(model: nn.Module, x: Tensor) -> Tensor:
    """Log-probabilities of each row; in float64, so that it is the products that differ, if anything does."""
    return model(x).double().log_softmax(-1)


def moved(model: nn.Module, x: Tensor, contract: str | None) -> int:
    """How many of the rows get other scores in the batch than alone."""
    with torch.no_grad(), nullcontext() if contract is None else deterministic(contract):
        together = scores(model, x)
        alone = torch.cat([scores(model, row) for row in x.split(1)])
    return int((together != alone).any(-1).sum())


def main() -> None:
    """Print how many rows move, without and with contracts."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1000, 256), nn.ReLU(), nn.Linear(256, 100))
    x = torch.randn(64, 1000)
    for contract in (None, *CONTRACTS):
        print(f"{contract or 'torch':<18}{moved(model, x, contract):>3} of {len(x)} rows move")

    # A layer can have its contract built in, with the parameters that it has: nothing around it is needed then.
    model[0], model[2] = (refnum.nn.Linear.from_torch(model[i], contract="chain/v1") for i in (0, 2))
    print(f"{'layers of refnum':<18}{moved(model, x, None):>3} of {len(x)} rows move")
    print(model)


if __name__ == "__main__":
    main()
