"""``tunesmith experts``: preflight and conversion."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import click
from tunesmith import TunesmithError
from tunesmith.stacks import place
from tunesmith.stacks.rerunning import again_there

from tunesmith_ktransformers import processor
from tunesmith_ktransformers.preflight import STACK
from tunesmith_ktransformers.preflight import findings as preflight


@click.group()
def experts() -> None:
    """Experts on the processor (use_kt): whether they can run here, and their weights in few bits."""


@experts.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(as_json: bool) -> int:
    """Look at processor, memory and packages. Exits with 1 when experts cannot run here."""
    found = list(preflight())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        for one in found:
            click.echo(f"{one.level.ljust(4)}  {one.what}" + (f"\n      {one.fix}" if one.fix else ""))
    return int(any(one.level == "fail" for one in found))


@experts.command(short_help="Write the experts of a model in few bits.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--bits", type=click.Choice(["8", "4"]), default="8", show_default=True, help="Bits of each number.")
@click.option("--parts", type=click.IntRange(min=1), help="Into how many parts experts are cut. One a NUMA node.")
@click.option("--threads", type=click.IntRange(min=1), help="How many threads work. One a core.")
def convert(model: Path, output: Path, bits: str, parts: int | None, threads: int | None) -> None:
    """Write the experts of the model folder MODEL into the new folder OUTPUT, for kt_weight_path.

    Plain weights and FP8 are read, a layer at a time.
    """
    if not model.is_dir():
        raise TunesmithError(f"There is no folder {model}.", "Give a model folder with config.json and safetensors files.")
    if find_spec("kt_kernel") is None:
        if place.made(STACK) is None:
            raise TunesmithError("kt-kernel is not here.", f"tunesmith stack create {STACK}")
        again_there(STACK)
    from tunesmith_ktransformers.converter import Conversion, convert

    nodes = parts or processor.numa_nodes()
    wanted = Conversion(model, output, int(bits), nodes, threads or processor.cores())
    written = convert(wanted, lambda line: click.echo(line, err=True))
    click.echo(f"{output}: experts of {written.layers} layers in {written.bits} bits. Use them with kt_weight_path: {output}")
