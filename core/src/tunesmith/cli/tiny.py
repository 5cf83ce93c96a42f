"""``tunesmith tiny FAMILY --out DIR``: a small random model to try things on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from tunesmith.errors import TunesmithError


def _list(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from tunesmith.runtime.tiny.families import families

    for family in families().values():
        click.echo(f"{family.name:<12} {family.summary}")
    ctx.exit()


@click.command()
@click.argument("family")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write; new or empty.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same weights.")
@click.option("--hidden", type=int, help="Width. [default: 64]")
@click.option("--layers", type=int, help="Number of layers. [default: 2]")
@click.option("--heads", type=int, help="Attention heads. [default: 4]")
@click.option("--kv-heads", type=int, help="Heads of keys and values. [default: 2]")
@click.option("--intermediate", type=int, help="Inner width of the feed-forward part. [default: 128]")
@click.option("--experts", type=int, help="Number of experts, where the family has them. [default: 4]")
@click.option("--vocab", type=int, help="Number of tokens. [default: 2048]")
@click.option("--context", type=int, help="Longest text in tokens. [default: 4096]")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List the families.")
def tiny(family: str, out: Path, seed: int, **sizes: int | None) -> None:
    """Make a small random model of a FAMILY, with a tokenizer and chat template that fit.

    The same seed, sizes and library versions give the same files.
    """
    if missing := [name for name in ("torch", "transformers", "tokenizers") if find_spec(name) is None]:
        raise TunesmithError(f"Making a model needs {', '.join(missing)}.", 'pip install "tunesmith-core[runtime]"')
    from tunesmith.runtime.tiny import make_tiny

    made = make_tiny(family, out, seed=seed, **{name: size for name, size in sizes.items() if size is not None})
    size = (made / "model.safetensors").stat().st_size
    click.echo(f"{made}: {family}, {size / 1e6:.1f} MB, seed {seed}")
