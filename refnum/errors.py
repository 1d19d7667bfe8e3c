"""Every error type of refnum.

A message has four short parts: what failed, what was got, what is allowed, what to do.
"""


class RefnumError(Exception):
    """The root of all errors that refnum raises on purpose."""


class FormatError(RefnumError, ValueError):
    """A format that does not exist, does not fit its container, or cannot serve the operation."""


class ShapeError(RefnumError, ValueError):
    """Shapes that do not match, do not broadcast, or do not divide."""


class DTypeError(RefnumError, TypeError):
    """A tensor of a dtype or device that the operation does not take."""


class ContractError(RefnumError, ValueError):
    """An unknown rounding, mode, contract or profile, or one that cannot be met."""


class NonFiniteError(RefnumError, ValueError):
    """A value that is not finite where an exporter needs finite ones."""


class UncoveredError(RefnumError, NotImplementedError):
    """An operation that refnum does not cover.

    Attributes
    ----------
    op : str
        The operation's name.
    reason : str
        Why it is not covered.
    """

    def __init__(self, message: str, *, op: str, reason: str) -> None:
        super().__init__(message)
        self.op = op
        self.reason = reason


class BackendError(RefnumError, RuntimeError):
    """A backend that was asked for by name and cannot serve, or whose files or bits are wrong."""


class MissingExtraError(RefnumError, ImportError):
    """An optional package that the operation needs is not installed."""


class MismatchError(RefnumError, AssertionError):
    """Two results differ.

    Attributes
    ----------
    report : object
        The comparison behind the message.
    """

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report
