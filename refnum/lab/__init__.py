"""Laboratory: what leaves refnum as files, and the search for formats."""

from . import search
from .references import vendor

__all__ = ["search", "vendor"]
