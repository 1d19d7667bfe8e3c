"""Laboratory: what leaves refnum as files."""

from .export import vendor

__all__ = ["vendor"]
