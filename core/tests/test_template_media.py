"""Media in templates: where they stand, how they are written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith import TunesmithError
from tunesmith.data.conversation import Conversation, Media, Piece, Rendered, Text, Turn
from tunesmith.data.media_runs import is_in_run, media_in
from tunesmith.templates import renderer_for
from tunesmith.templates.auto import without_marks
from tunesmith.templates.render import DeclaredRenderer
from tunesmith.templates.sandbox import run

TABLE = """[seeing]
summary = "For tests"
user = "<u>{{content|trim}}</u>"
reply = "{{content}}</a>"
stop = ["</a>"]
{media}
"""


def seeing(folder: Path, media: str = 'media = { image = "<v><pad></v>" }') -> DeclaredRenderer:
    (folder / "seeing.toml").write_text(TABLE.format(media=media))
    return renderer_for(folder / "seeing.toml")


def talk(*parts: Text | Media) -> Conversation:
    return Conversation((Turn("user", parts), Turn("assistant", (Text("yes"),))))


A, B = Media("image", "a.png"), Media("image", "b.png")


def test_media_stand_where_they_were_said(tmp_path: Path) -> None:
    found = seeing(tmp_path).render(talk(Text(" one "), A, Text("two"), B))
    assert found.text == "<u>one <v><pad></v>two<v><pad></v></u>yes</a>"
    assert found.media == (A, B)
    assert [found.pieces[at] for at in found.media_at] == [Piece("<v><pad></v>", True)] * 2


def test_or_first_where_the_template_says_so(tmp_path: Path) -> None:
    renderer = seeing(tmp_path, 'media = { image = "<pad>\\n", first = true }')
    assert renderer.render(talk(Text("one "), A, Text("two"), B)).text == "<u><pad>\n<pad>\none two</u>yes</a>"


def test_nobody_writes_a_picture_with_letters(tmp_path: Path) -> None:
    found = seeing(tmp_path).render(talk(Text("<v><pad></v>"), A))
    typed = [piece for piece in found.pieces if piece.text == "<v><pad></v>" and not piece.control]
    assert len(typed) == 1
    with pytest.raises(TunesmithError, match=r"Turn 1 \(user\) holds the character U\+FDD0"):
        seeing(tmp_path).render(talk(Text("\ufdd0"), A))


@pytest.mark.parametrize(
    ("media", "part", "told"),
    [
        ("", A, "has no place for images"),
        ('media = { image = "<pad>" }', Media("video", "a.mp4"), "has no place for videos"),
    ],
)
def test_what_the_template_cannot_show_is_refused(tmp_path: Path, media: str, part: Media, told: str) -> None:
    with pytest.raises(TunesmithError, match=told):
        seeing(tmp_path, media).render(talk(part, Text("?")))


def test_only_users_show_things(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match=r"Turn 2 \(assistant\) holds media"):
        seeing(tmp_path).render(Conversation((Turn("user", (Text("?"),)), Turn("assistant", (A,)))))


def test_the_jinja_form_writes_the_same(tmp_path: Path) -> None:
    for media in ('media = { image = "<pad>\\n", first = true }', 'media = { image = "<v><pad></v>" }'):
        renderer = seeing(tmp_path, media)
        content = [{"type": "text", "text": "one "}, {"type": "image"}, {"type": "text", "text": "two"}]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "yes"}]
        written, _ = without_marks(run(renderer.chat_template(), messages, "2024-07-26"))
        assert written == renderer.render(talk(Text("one "), A, Text("two"))).text


def test_a_wrong_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="media names no text for a kind"):
        seeing(tmp_path, "media = { first = true }")


def test_what_is_left_of_a_text_keeps_its_media() -> None:
    pieces = (
        Piece("a", True),
        Piece("I", True),
        Piece("b", True, 1.0),
        Piece("c", True),
        Piece("J", True),
        Piece("d", True, 1.0),
    )
    text = Rendered(pieces, (A, B), media_at=(1, 4))
    assert [media_in(text, runs) for runs in (4, 3, 2, 1)] == [(A, B), (A, B), (A,), (A,)]
    assert [is_in_run(text, run) for run in (1, 2, 3, 4)] == [True, False, True, False]
