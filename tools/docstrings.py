"""Docstrings as Markdown, and code as it is written: what the reference pages are made of."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

_ROLE = re.compile(r":(?:\w+:)*\w+:`~?([^`]*)`")
_FIELD = re.compile(r":(param (?P<name>\w+)|raises (?P<error>\w+)|returns?):")


def markdown(docstring: str | None) -> str:
    """A docstring as Markdown: cross-references become code, fields become a list, ``::`` blocks become fences."""
    text = inspect.cleandoc(docstring or "")
    text = _ROLE.sub(lambda match: f"`{match.group(1).rpartition('.')[2]}`", text).replace("``", "`")
    return _fences(_listed(text))


def _listed(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if match := _FIELD.match(line):
            if lines and lines[-1] and not lines[-1].startswith("- "):
                lines.append("")
            label = f"`{match['name']}`" if match["name"] else f"raises `{match['error']}`" if match["error"] else "returns"
            lines.append(f"- {label}:{line[match.end() :]}")
        elif lines and lines[-1].startswith("- ") and line.startswith("    "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines)


def _fences(text: str) -> str:
    """An indented block after ``::``, and a block of ``>>>`` lines, become fences of plain text."""
    out: list[str] = []
    block: list[str] | None = None
    for line in [*text.splitlines(), "end of text"]:
        if block is not None and (line.startswith(("    ", ">>> ", "... ")) or not line):
            block.append(line)
            continue
        if block is not None:
            code = textwrap.dedent("\n".join(block)).replace("  # doctest: +SKIP", "").strip("\n")
            out += ["", "```text", code, "```", ""]
            block = None
        if line.startswith(">>> "):
            block = [line]
            continue
        out.append(line[:-1] if line.endswith("::") else line)
        if line.endswith("::"):
            block = []
    return "\n".join(out[:-1]).strip()


def module_of(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def signature(function: ast.FunctionDef) -> str:
    """``name(parameters) -> type`` without ``self``."""
    arguments = ast.unparse(function.args)
    arguments = re.sub(r"^(self|cls)(, )?", "", arguments)
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{function.name}({arguments}){returns}"


def sections(source: str) -> dict[int, str]:
    """Line → title of every ``# ---- title ----`` comment."""
    found = {}
    for number, line in enumerate(source.splitlines(), 1):
        if match := re.match(r"# -+ (.+?) -+$", line):
            found[number] = match.group(1)
    return found


def fields_of(node: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and docstring of every annotated attribute, as written."""
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            meaning = said.value if isinstance(said, ast.Constant) else ""
            default = ast.unparse(item.value) if item.value else ""
            yield item.target.id, ast.unparse(item.annotation), default, markdown(str(meaning))


def methods_of(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Its public functions, constructors left out."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            yield item


def is_abstract(function: ast.FunctionDef) -> bool:
    """Whether somebody else has to write it: marked so, or nothing but a docstring."""
    marked = any("abstract" in ast.unparse(decorator) for decorator in function.decorator_list)
    body = [item for item in function.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]
    return marked or not body


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; cells may hold anything."""
    cells = [tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ("---",) * len(head), *cells])
