"""Contracts of sums of products: from name and version to a definition."""

from __future__ import annotations

from dataclasses import dataclass

from ..boundary import check_choice


@dataclass(frozen=True, slots=True)
class Contract:
    """One row."""

    name: str  #: with its version
    definition: str  #: in a few words


CONTRACTS = {
    row.name: row
    for row in (
        Contract("exact/v1", "the exact sum, the bias included, rounded once to the result"),
        Contract("chain/v1", "k ascending, acc = fma(a, b, acc) in float32 from the bias or +0; rounded once more"),
        Contract("unversioned/torch.mm", "torch.matmul of float32 values, then the bias; no promise of bits"),
    )
}
#: short names of the newest versions
ALIASES = {"exact": "exact/v1", "chain": "chain/v1"}


def find(function: str, contract: object) -> Contract:
    """The row with this name, full or short, or the row itself."""
    if isinstance(contract, Contract):
        return contract
    name = ALIASES.get(contract, contract) if isinstance(contract, str) else contract
    check_choice(function, "contract", name, CONTRACTS)
    assert isinstance(name, str)
    return CONTRACTS[name]
