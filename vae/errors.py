"""The one base class for what a person is told."""


class UserError(ValueError):
    """Something that a person can put right: the message says what is wrong and what to do next.

    Pages and the command line show these and nothing else; any other exception is a fault of the
    program's. It is a ValueError, so that callers of the library need not know it.

    Attributes:
        exit_code: of the command line: 2 for bad input, 1 for work that broke off.
    """

    exit_code = 2
