"""Writes down that the tests passed on this GPU: ``python refnum_cuda/record.py``, after them.

The checksums of this GPU's files go to refnum_cuda/refnum_cuda/hardware.json, by which `refnum.status` tells what was
verified where.
"""

from __future__ import annotations

import datetime

import torch
from refnum_cuda.hardware import Record

from refnum_cuda import hardware, modules


def main() -> None:
    """Add one record."""
    about = hardware.machine()
    target = modules.served_by(torch.cuda.current_device())
    files = {name: checksum for name, checksum in modules.manifest()["files"].items() if name.split(".")[1] == target}
    today = datetime.date.today().isoformat()
    hardware.add(Record("tests", about["gpu"], about["driver"], about["torch"], today, files))
    print(f"{about['gpu']}, driver {about['driver']}: {hardware.summary(target)}")


if __name__ == "__main__":
    main()
