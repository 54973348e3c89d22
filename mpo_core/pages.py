"""Web pages: how their templates are filled."""

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from mpo_core.inert import inert, shortened


@cache
def templates(package: str) -> Environment:
    """A package's templates of web pages, which may include those that all pages share: what they
    are given is escaped and inert; `short` is `shortened`."""
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("mpo_core")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: inert(value) if type(value) is str else value,
    )
    found.filters["short"] = shortened
    return found
