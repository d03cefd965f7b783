"""Which priorities there are, and how waiting makes up for a low one. Pure."""

NAMES = ("high", "normal", "low")
"""By their numbers in the database: the lower goes first."""
NORMAL = NAMES.index("normal")

AGEING_S = 300.0
"""A job that waited this much longer than one of the next higher priority goes before it."""


def number(name: str) -> int:
    """Raises ValueError for a name that is no priority."""
    return NAMES.index(name)


def name(priority: int) -> str:
    return NAMES[priority]
