"""The test card: it fits, it differs, it never shows a box for a letter."""

import pytest
from PIL import Image

from comfybridge.simulator import fonts, testcard
from comfybridge.simulator.values import Latent, Model, Picture, Sampling


def sampling(text: str = "a fox in the snow", *, seed: int = 1, denoise: float = 1.0) -> Sampling:
    return Sampling(text, "", seed, 8, 1.0, "euler", "simple", denoise, Model("model.safetensors"))


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (160, 160), (161, 900), (1024, 160), (832, 1216)], ids=str)
@pytest.mark.parametrize(
    "text",
    ["", "a fox", "word " * 400, "x" * 3000, "猫" * 500, "emoji 🎨 only", "line\nbreak\ttab \u00a0 \\ \" '", "\ud800"],
    ids=["none", "short", "long", "one word", "chinese", "emoji", "white space", "surrogate"],
)
def test_any_text_fits_any_size(size: tuple[int, int], text: str) -> None:
    card = testcard.painted(Latent(*size), sampling(text))

    assert (card.size, card.mode) == (size, "RGB")


def test_cards_differ_by_seed_text_and_place_in_the_batch() -> None:
    latent = Latent(64, 64, 2)
    cards = [
        testcard.painted(latent, sampling()),
        testcard.painted(latent, sampling(), 1),
        testcard.painted(latent, sampling(seed=2)),
        testcard.painted(latent, sampling("a hare")),
    ]

    assert len({card.tobytes() for card in cards}) == 4


def test_card_is_painted_over_the_picture_it_started_from() -> None:
    red = Picture((Image.new("RGB", (64, 64), (255, 0, 0)),))
    latent = Latent(64, 64, picture=red)

    faint, strong = (testcard.painted(latent, sampling(denoise=denoise)) for denoise in (0.1, 1.0))

    assert _distance(faint) < _distance(strong)


def test_text_that_no_font_has_becomes_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "of_the_system", lambda _size: None)

    assert fonts.drawable("\U00013000 dusk", 20) is None
    assert testcard.painted(Latent(256, 256), sampling("\U00013000")).size == (256, 256)


def test_emoji_are_left_out_and_letters_kept() -> None:
    choice = fonts.drawable("a fox 🎨 runs", 20)

    assert choice is not None
    assert choice[0] == "a fox  runs"


def test_chinese_is_drawn() -> None:
    choice = fonts.drawable("黄昏时分悬崖上的灯塔,油画", 20)

    assert choice is not None
    assert choice[0] == "黄昏时分悬崖上的灯塔,油画"


def test_previews_fit_and_sharpen() -> None:
    latent = Latent(1024, 512)

    early, late = (testcard.previewed(latent, sampling(), done=done) for done in (0.1, 1.0))

    assert early.size == (512, 256)
    assert early.tobytes() != late.tobytes()


def _distance(card: Image.Image) -> int:
    red, green, blue = card.getpixel((30, 30))  # type: ignore[misc]  # a tuple in RGB
    return (255 - red) + green + blue
