"""``tunesmith expand MODEL --blocks N --out DIR``: more layers that change nothing until they learn."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--blocks", required=True, type=int, help="How many layers to add; the model's number is a multiple of it.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write; new or empty.")
def expand(model: Path, blocks: int, out: Path) -> None:
    """Add silent copies of layers to the MODEL in a folder (LLaMA Pro).

    The expanded model answers as the one it was made of. To train the copies alone: finetuning_type: freeze,
    use_llama_pro: true, freeze_trainable_layers: the same number.
    """
    from tunesmith_full.expansion import expand as write

    layout = write(model.expanduser(), out.expanduser(), blocks, click.echo)
    copies = ", ".join(str(number) for number, (_, copy) in enumerate(layout.order) if copy)
    click.echo(f"{out}: {len(layout.order)} layers; new are {copies}")
