"""Image files: what is let in, how large it is seen, and what is told of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tunesmith.contracts import BadMedia
from tunesmith.data.conversation import Media
from tunesmith_multimodal.images import bounded, measure, open_image, place_of


def test_a_picture_is_measured_as_it_is_seen(tmp_path: Path) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=sideways)
    media = Media("image", str(tmp_path / "a.jpg"))
    assert measure(media) == (20, 40)
    assert open_image(media, 1, 10_000).size == (20, 40)


@pytest.mark.parametrize(
    ("kind", "mode"), [("png", "P"), ("png", "RGBA"), ("png", "I;16"), ("jpg", "L"), ("webp", "RGB"), ("gif", "P")]
)
def test_pictures_of_all_kinds_become_rgb(tmp_path: Path, kind: str, mode: str) -> None:
    Image.new(mode, (8, 9)).save(tmp_path / f"a.{kind}")
    media = Media("image", str(tmp_path / f"a.{kind}"))
    assert measure(media) == (8, 9)
    assert open_image(media, 1, 10_000).mode == "RGB"


def test_bytes_do_for_a_file_that_is_gone(tmp_path: Path) -> None:
    Image.new("RGB", (8, 9)).save(tmp_path / "a.png")
    assert measure(Media("image", "gone.png", (tmp_path / "a.png").read_bytes())) == (8, 9)


@pytest.mark.parametrize(
    ("size", "wanted"), [((100, 50), (100, 50)), ((2000, 1000), (1086, 543)), ((10, 20), (22, 45)), ((9000, 1), (9000, 1))]
)
def test_sizes_are_kept_within_bounds(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert bounded(*size, 1024, 768 * 768) == wanted


def test_a_file_lies_in_its_folder_once_links_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    for folder in (tmp_path, root / "deep"):
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    (root / "link.png").symlink_to(tmp_path / "a.png")
    assert place_of("deep/a.png", root) == (root / "deep" / "a.png").resolve()
    for name in ("../a.png", str(tmp_path / "a.png"), "link.png"):
        with pytest.raises(BadMedia, match="lies outside"):
            place_of(name, root)
    for name, told in (("b.png", "There is no image"), ("deep", "There is no image"), ("https://a/b.png", "is an address")):
        with pytest.raises(BadMedia, match=told):
            place_of(name, root)
    with pytest.raises(BadMedia, match="cannot be looked at"):
        place_of("a\0.png", root)


def test_damaged_and_foreign_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.effect_noise((300, 300), 90).convert("RGB").save(tmp_path / "whole.jpg")
    Image.effect_noise((300, 300), 90).save(tmp_path / "whole.png")
    for name in ("whole.jpg", "whole.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"half-{name}").write_bytes(data[: len(data) // 2])
        with pytest.raises(BadMedia, match=f"half-{name} cannot be read"):
            measure(Media("image", str(tmp_path / f"half-{name}")))
    (tmp_path / "words.png").write_text("no picture at all")
    with pytest.raises(BadMedia, match="is no image of a kind"):
        measure(Media("image", str(tmp_path / "words.png")))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    with pytest.raises(BadMedia, match="300 × 300 pixels are more than 60,000"):
        measure(Media("image", str(tmp_path / "whole.png")))
