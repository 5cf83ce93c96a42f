"""The model card of an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
```"""
OLLAMA = "With Ollama, in this folder: `ollama create NAME -f Modelfile`."


def model_card(report: Mapping[str, Any]) -> str:
    """Markdown with the front matter that model hubs read, from the facts of the report."""
    return "\n".join([*_front_matter(report), "", *_body(report)]) + "\n"


def _front_matter(report: Mapping[str, Any]) -> list[str]:
    tags = ["tunesmith", *sorted({merge["tuner"] for merge in report["adapters"]})]
    return [
        "---",
        f"base_model: {report['base']}",
        f"library_name: {report.get('library', 'transformers')}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "---",
    ]


def _body(report: Mapping[str, Any]) -> Iterator[str]:
    merged = ", ".join(f"{merge['adapter']} ({merge['tuner']})" for merge in report["adapters"])
    yield f"# {report['base']}, merged with {merged}" if merged else f"# {report['base']}"
    yield ""
    yield f"{report['architecture']} with {report['parameters']:,} parameters in {report['dtype']}, exported by Tunesmith."
    yield f"Conversations are written by the template in `chat_template.jinja` (`{report['template']}`)."
    yield ""
    yield report.get("use", USE)
    yield ""
    yield OLLAMA if "Modelfile" not in report["omitted"] else f"There is no Modelfile: {report['omitted']['Modelfile']}"
    yield ""
    yield "## Checks"
    yield ""
    yield from _figures(report)


def _figures(report: Mapping[str, Any]) -> Iterator[str]:
    if "checked" in report:
        yield f"{report['checked']}\n"
    for merge in report["adapters"]:
        if merge["weights"] is not None:
            yield f"{merge['adapter']} changed {merge['weights']} weights by {merge['moved']:.2g} of their size.\n"
    if not report["verified"]:
        yield "What the model answers was not compared."
        return
    yield "Logits of a few prompts, differences as a share of the logits' standard deviation; and greedy tokens."
    yield ""
    yield "| compared | typical | largest | equal tokens |"
    yield "|---|---|---|---|"
    for merge in report["adapters"]:
        yield _row(f"{merge['adapter']}: with the adapter, and without it", merge["change"])
        yield _row(f"{merge['adapter']}: merged, and as an adapter", merge["gap"])
    if "quantizer" in report:
        yield _row(f"quantised to {report['bits']} bits by {report['quantizer']}, and not", report["quantized_gap"])
    yield _row("read back from this folder, and as it was written", report["read_back"])


def _row(what: str, figures: Mapping[str, float]) -> str:
    return f"| {what} | {figures['typical']:.2g} | {figures['largest']:.2g} | {figures['equal_tokens']:.0%} |"
