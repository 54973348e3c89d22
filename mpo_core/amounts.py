"""Amounts in words."""


def number_of(n: int, what: str) -> str:
    """So many of something: `1 task`, `2 tasks`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
