"""Kernels for NVIDIA GPUs that give the bits of refnum's reference.

Importing and registering touch no device: files are loaded, and compared with the reference, when an operation first
meets a device.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"

INTERFACE = 1  #: the hooks of refnum.backend that this package fills
#: What the kernels compute, by refnum's names: a contract of another version is another contract.
CONTRACTS = (
    *("encode/v1", "decode/v1", "quantize/v1", "chain/v1", "tree/v1", "exact/v1"),
    *(f"posit_{function}/v1" for function in ("add", "sub", "mul", "div", "sqrt", "fma", "fmm", "convert")),
    *(f"posit_{mode}/v1" for mode in ("products", "posit", "cuposit", "quire")),
    *(f"tc.{gpu}.{kind}/v1" for gpu in ("ampere", "ada", "hopper", "blackwell") for kind in ("bf16", "f16")),
    "tc.hopper.fp8/v1",
    "tcsplit/v1",
    *(f"mx_{function}/v1" for function in ("quantize", "amax", "dequantize", "shuffle", "unshuffle")),
)


def register() -> str | None:
    """Register every kernel with refnum: None, or one line that says why it was not done."""
    from .operations import register

    return register()


def warmup(device: torch.device | int | None = None) -> None:
    """Load every file and compare every operation with the reference on a device, by default torch's current one.

    For those who capture graphs: neither may happen during a capture.

    Raises
    ------
    BackendError
        When the device is not served, or a kernel's bits are not the reference's.
    """
    from .operations import warmup

    warmup(device)


if find_spec("refnum") is not None:  # it is absent where the wheel is made
    import refnum.codec  # noqa: F401 - first, for it registers the kernels, and their rooms import rooms of refnum
