"""``{% generation %}…{% endgeneration %}`` for Jinja: puts marks around what a template says the model generated."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from tunesmith.templates.sandbox import CLOSE_MARK, OPEN_MARK


class GenerationTag(Extension):
    """The tag as an extension of an environment."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it as an instance attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The marked body, between two outputs of the marks."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        opening = nodes.Output([nodes.TemplateData(OPEN_MARK)]).set_lineno(line)
        closing = nodes.Output([nodes.TemplateData(CLOSE_MARK)]).set_lineno(line)
        return [opening, *body, closing]
