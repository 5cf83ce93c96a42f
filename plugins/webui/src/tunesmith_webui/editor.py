"""The part of the page in which a configuration is written: its file, its text, a form over it, its data."""

from __future__ import annotations

from typing import Any, TypeAlias

import gradio

from tunesmith_webui.desk import Desk
from tunesmith_webui.form import Field, datasets, fields_of, values
from tunesmith_webui.told import told

#: What a new configuration begins as.
NEW = "model_name_or_path: \nstage: sft\nfinetuning_type: lora\ndataset: identity\ntemplate: auto\noutput_dir: saves/run\n"
#: How many rows are shown unless somebody wants more.
ROWS = 3
#: Pixels that a field needs: two stand side by side.
NARROW = 220
COLOURS = {"learned": "green", "row": "gray", "bad": "red"}
Entry: TypeAlias = gradio.Dropdown | gradio.Textbox


def editor(desk: Desk, said: gradio.I18n) -> tuple[gradio.Dropdown, gradio.Dropdown, gradio.Code]:
    """The command, the file, and its text."""
    with gradio.Row():
        command = gradio.Dropdown(desk.commands(), value="train", label=said("command"))
        name = gradio.Dropdown(desk.folder.names(), value="run.yaml", label=said("config_file"), allow_custom_value=True)
        load, save = gradio.Button(said("load")), gradio.Button(said("save"))
    with gradio.Row():
        with gradio.Column():
            fields = [field for some in fields_of(desk.plugins, desk.keys()).items() for field in _entries(*some, said)]
        with gradio.Column():
            text = gradio.Code(NEW, language="yaml", label=said("config"), interactive=True)
            about = gradio.Markdown()
            _any_key(desk, said, text, about)
    _join(desk, text, fields)
    _data(desk, said, name, text)
    load.click(told(desk.folder.read), name, text, api_name="load")
    save.click(told(lambda name, text: str(desk.folder.write(name, text))), [name, text], about, api_name="save")
    return command, name, text


def _entries(head: str, some: list[Field], said: gradio.I18n) -> list[tuple[Field, Entry]]:
    with gradio.Accordion(said(head), open=head == "model"), gradio.Row():
        return [(field, _entry(field)) for field in some]


def _entry(field: Field) -> Entry:
    key = field.key
    info = f"{key.help} ({key.default})" if key.default not in (None, "", ()) else key.help
    shape = {"label": key.name, "info": info, "elem_id": f"key-{key.name}", "min_width": NARROW}
    if field.options or key.name == "dataset":
        return gradio.Dropdown(["", *field.options], value="", allow_custom_value=True, **shape)
    return gradio.Textbox(**shape)


def _any_key(desk: Desk, said: gradio.I18n, text: gradio.Code, about: gradio.Markdown) -> None:
    with gradio.Row():
        key = gradio.Dropdown(sorted(desk.keys()), value=None, label=said("key"), filterable=True)
        value = gradio.Textbox(label=said("value"))
        put = gradio.Button(said("put"))
    key.change(desk.about, key, about, api_name="about")
    put.click(told(desk.put), [text, key, value], text, api_name="put")


def _join(desk: Desk, text: gradio.Code, fields: list[tuple[Field, Entry]]) -> None:
    """What is entered goes into the text, and what the text says into the fields."""
    names = tuple(field.key.name for field, _ in fields)
    entries = [entry for _, entry in fields]

    def read(text: str) -> list[Any]:
        found = values(text, names)
        if found is None:
            return [gradio.skip()] * len(names)
        offered = {"dataset": ["", *datasets(text, desk.folder.root)]}
        return [
            gradio.update(value=value, **({"choices": offered[name]} if name in offered else {}))
            for name, value in zip(names, found, strict=True)
        ]

    text.change(read, text, entries, api_name="form", show_progress="hidden")
    for field, entry in fields:

        def put(text: str, value: str | None, name: str = field.key.name) -> str:
            return desk.put(text, name, (value or "").strip())

        when = [entry.input] if isinstance(entry, gradio.Dropdown) else [entry.submit, entry.blur]
        gradio.on(when, told(put), [text, entry], text, api_name=False, show_progress="hidden")


def _data(desk: Desk, said: gradio.I18n, name: gradio.Dropdown, text: gradio.Code) -> None:
    with gradio.Accordion(said("rows"), open=False):
        with gradio.Row():
            count = gradio.Number(ROWS, precision=0, minimum=1, maximum=100, label=said("how_many"))
            look = gradio.Button(said("look"))
        shown = gradio.HighlightedText([], color_map=COLOURS, show_legend=True, label=said("as_the_model_reads"))
    look.click(told(desk.rows), [name, text, count], shown, api_name="rows")
