"""Which of a row's images, videos and sounds are left when its end was cut off."""

from __future__ import annotations

from tunesmith.data.conversation import Media, Rendered


def media_in(rendered: Rendered, runs: int) -> tuple[Media, ...]:
    """The media in the first ``runs`` runs of a text: neighbouring pieces with one weight, as they are encoded."""
    return tuple(media for media, run in zip(rendered.media, _runs_of(rendered), strict=True) if run <= runs)


def is_in_run(rendered: Rendered, run: int) -> bool:
    """Whether run number ``run`` (from 1) holds media, so that cutting it could cut through one."""
    return run in _runs_of(rendered)


def _runs_of(rendered: Rendered) -> list[int]:
    """For each of the media the number of its run, from 1."""
    number, weight, numbers = 0, None, []
    for piece in rendered.pieces:
        if piece.text and piece.weight != weight:
            number, weight = number + 1, piece.weight
        numbers.append(number)
    return [numbers[at] for at in rendered.media_at]
