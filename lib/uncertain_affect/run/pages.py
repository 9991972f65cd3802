"""Pages of text from the templates beside this module."""

from pathlib import Path

import jinja2


def page(template: str, **shown) -> str:
    """A template, ``"scoreboard.md.j2"`` say, with what it shows."""
    loader, undefined = jinja2.FileSystemLoader(Path(__file__).parent), jinja2.StrictUndefined
    pages = jinja2.Environment(loader=loader, trim_blocks=True, keep_trailing_newline=True, undefined=undefined)
    return pages.get_template(template).render(**shown)
