"""The template language: how a conversation becomes a model's text, as data.

:func:`templates_in` lists the templates of a package, :func:`renderer_for` makes a renderer from a file or a spec, and
:func:`make_renderer` the one that a run's plan asks for.
"""

from __future__ import annotations

from tunesmith.templates.finding import make_renderer, renderer_for, syntax_in, templates_in

__all__ = ["make_renderer", "renderer_for", "syntax_in", "templates_in"]
