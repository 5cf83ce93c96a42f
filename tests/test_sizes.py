"""Functions and modules stay small; the budget is in size_budget.toml."""

from __future__ import annotations

import ast
import statistics
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import CORE, ROOT, plugin_packages

BUDGET = tomllib.loads(Path(__file__).with_name("size_budget.toml").read_text(encoding="utf-8"))
MODULES = [module for package in (CORE, *plugin_packages()) for module in package.modules()]


@dataclass(frozen=True)
class Function:
    """One function: where it is, how many lines it has from ``def`` to its end, how many parameters it takes."""

    place: str
    lines: int
    parameters: int


def functions_of(module: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            place = f"{module.relative_to(ROOT)}:{node.lineno} {node.name}"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(place, lines, len(names) - (names[:1] in (["self"], ["cls"])))


@pytest.fixture(scope="module")
def functions() -> list[Function]:
    return [function for module in MODULES for function in functions_of(module)]


def test_a_typical_function_is_a_few_lines(functions: list[Function]) -> None:
    assert statistics.median(function.lines for function in functions) <= BUDGET["functions"]["median"]


def test_long_functions_are_rare(functions: list[Function]) -> None:
    longest_first = sorted(functions, key=lambda function: -function.lines)
    at_95 = longest_first[len(functions) // 20]
    report = "\n".join(f"{function.lines} lines: {function.place}" for function in longest_first[:20])
    assert at_95.lines <= BUDGET["functions"]["percentile_95"], report


def test_no_function_is_too_long(functions: list[Function]) -> None:
    assert not [f"{f.place}: {f.lines} lines" for f in functions if f.lines > BUDGET["functions"]["most"]]


def test_no_function_takes_too_many_parameters(functions: list[Function]) -> None:
    most = BUDGET["functions"]["parameters"]
    assert not [f"{f.place}: {f.parameters} parameters" for f in functions if f.parameters > most]


def test_no_module_is_too_long() -> None:
    lengths = {str(module.relative_to(ROOT)): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert not {name: lines for name, lines in lengths.items() if lines > BUDGET["modules"]["most"]}


def test_the_ruler_itself_measures_right(tmp_path: Path) -> None:
    module = ROOT / "tests" / "test_sizes.py"
    lengths = {function.place.split()[-1]: function for function in functions_of(module)}
    assert lengths["functions"].lines == 2
    assert lengths["test_the_ruler_itself_measures_right"].parameters == 1
