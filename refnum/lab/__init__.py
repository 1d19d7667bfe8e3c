"""Laboratory: what leaves refnum as files."""

from .references import vendor

__all__ = ["vendor"]
