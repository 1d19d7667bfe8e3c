"""Laboratory: what leaves refnum as files, and the search for formats."""

from . import export, search
from .references import vendor

__all__ = ["export", "search", "vendor"]
