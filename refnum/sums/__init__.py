"""Every sum under a contract."""

from .. import codec  # noqa: F401 - first, for it looks for kernels, and their rooms import rooms of this one
