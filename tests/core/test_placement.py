from typing import Any

import pytest

from comfybridge import placement, workflow
from comfybridge.errors import InvalidInput
from comfybridge.media import InputFile, MediaType
from comfybridge.workflow import Definitions, InputRef

PNG, MP4 = MediaType("image/png", ".png"), MediaType("video/mp4", ".mp4")


def node(class_type: str, title: str = "", /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


def text2image(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        "2": node("CLIPTextEncode", "Scene", clip=["1", 1], text="a fox"),
        "3": node("CLIPTextEncode", "Negative", clip=["1", 1], text="blurry"),
        "4": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "5": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["3", 0],
            latent_image=["4", 0],
            seed=7,
            steps=20,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
        **more,
    }


def values(definitions: Definitions, graph: dict[str, dict[str, Any]] | None = None, /, **given: Any) -> dict[str, Any]:
    """Where the values go, as ``{"node_id.input": value}``."""
    graph = graph or text2image()
    placed = placement.place_values(graph, workflow.trace(graph, definitions), given, definitions)
    return {f"{ref.node_id}.{ref.input}": value for ref, value in placed.items()}


def refused(definitions: Definitions, **given: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as raised:
        values(definitions, **given)
    return raised.value


class TestNames:
    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("steps", "5.steps"),
            ("Steps", "5.steps"),
            ("步数", "5.steps"),
            ("5.steps", "5.steps"),
            ("KSampler.steps", "5.steps"),
            ("ksampler . steps", "5.steps"),
        ],
    )
    def test_input_is_found_by_role_and_by_node(self, name: str, place: str, definitions: Definitions) -> None:
        assert values(definitions, **{name: "30"}) == {place: 30}

    @pytest.mark.parametrize(
        ("name", "place"), [("prompt", "2.text"), ("negative_prompt", "3.text"), ("Scene.text", "2.text")]
    )
    def test_texts_are_found_by_difys_names_and_by_title(self, name: str, place: str, definitions: Definitions) -> None:
        assert values(definitions, **{name: "猫 = 'cat'"}) == {place: "猫 = 'cat'"}

    def test_input_that_only_one_node_has_needs_no_node(self, definitions: Definitions) -> None:
        assert values(definitions, filename_prefix="mine") == {"7.filename_prefix": "mine"}

    def test_names_of_the_users_own_come_first(self, definitions: Definitions) -> None:
        prompt = text2image()
        prompt["4"]["_meta"]["title"] = "VC_BASIC Poster width"

        assert values(definitions, prompt, **{"poster WIDTH": 640}) == {"4.width": 640}

    def test_ids_inside_subgraphs_and_names_with_dots(self, definitions: Definitions) -> None:
        prompt = text2image(**{"57:30": node("Anything", "", **{"size.width": 3})})

        assert values(definitions, prompt, **{"57:30.size.width": 5}) == {"57:30.size.width": 5}

    def test_node_id_wins_over_another_nodes_title(self, definitions: Definitions) -> None:
        prompt = text2image()
        prompt["3"]["_meta"]["title"] = "2"

        assert values(definitions, prompt, **{"2.text": "x"}) == {"2.text": "x"}

    def test_title_of_two_nodes_names_both(self, definitions: Definitions) -> None:
        prompt = text2image()
        prompt["3"]["_meta"]["title"] = "Scene"

        with pytest.raises(InvalidInput, match=r"2\.text or 3\.text") as raised:
            values(definitions, prompt, **{"Scene.text": "x"})
        assert "2.text 或 3.text" in raised.value.zh

    def test_unknown_name_gets_the_nearest(self, definitions: Definitions) -> None:
        error = refused(definitions, stepz=3)

        assert "no 'stepz'" in str(error)
        assert "steps" in str(error).partition("among others")[2]
        assert "steps" in error.zh

    def test_name_in_several_nodes_lists_them(self, definitions: Definitions) -> None:
        assert "2.text, 3.text" in str(refused(definitions, text="x"))

    def test_optional_input_that_the_graph_leaves_out_can_be_set(self, definitions: Definitions) -> None:
        prompt = text2image(**{"8": node("UNETLoader", unet_name="z_image_turbo_bf16.safetensors")})

        assert values(definitions, prompt, **{"8.weight_dtype": "default"}) == {"8.weight_dtype": "default"}


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "given", "wanted"),
        [
            ("steps", "30", 30),
            ("steps", 30.0, 30),
            ("seed", str(2**64 - 1), 2**64 - 1),
            ("cfg", "4.5", 4.5),
            ("cfg", 4, 4.0),
            ("sampler", "Euler", "euler"),
            ("prompt", 3, "3"),
            ("prompt", {"a": "雪"}, '{"a": "雪"}'),
        ],
    )
    def test_value_gets_the_type_of_its_input(
        self, name: str, given: Any, wanted: Any, definitions: Definitions
    ) -> None:
        (value,) = values(definitions, **{name: given}).values()

        assert (value, type(value)) == (wanted, type(wanted))

    @pytest.mark.parametrize(("text", "wanted"), [("true", True), ("No", False), ("1", True), (False, False)])
    def test_flags(self, text: Any, *, wanted: bool, definitions: Definitions) -> None:
        prompt = text2image(**{"9": node("Switch", on=True)})

        assert values(definitions, prompt, **{"9.on": text}) == {"9.on": wanted}

    @pytest.mark.parametrize(
        ("name", "given", "english", "chinese"),
        [
            ("steps", "many", "'steps' must be a whole number, not 'many'.", "整数"),
            ("steps", 2.5, "'steps' must be a whole number, not '2.5'.", "整数"),
            ("steps", True, "'steps' must be a whole number", "整数"),
            ("cfg", "nan", "'cfg' must be a number, not 'nan'.", "数字"),
            ("sampler", "eulr_magic_xyz", "'sampler': 'eulr_magic_xyz' is not on the server", "服务器"),
            ("5.model", "x", "'5.model' takes MODEL from another node, no value.", "MODEL"),
        ],
    )
    def test_value_that_does_not_fit_is_refused(
        self, name: str, given: Any, english: str, chinese: str, definitions: Definitions
    ) -> None:
        error = refused(definitions, **{name: given})

        assert str(error).startswith(english)
        assert chinese in error.zh

    @pytest.mark.parametrize(
        ("name", "given"),
        [("steps", ""), ("cfg", " "), ("sampler", ""), ("model", ""), ("seed", ""), ("seed", "-1"), ("seed", "Random"),
         ("5.seed", "-1"), ("noise_seed", "-1")],
    )  # fmt: skip
    def test_empty_value_changes_nothing_nor_does_a_random_seed(
        self, name: str, given: str, definitions: Definitions
    ) -> None:
        assert values(definitions, **{name: given}) == {}

    def test_empty_text_is_a_text(self, definitions: Definitions) -> None:
        assert values(definitions, negative="") == {"3.text": ""}

    def test_flag_that_is_none_is_refused(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="true or false, not 'maybe'"):
            values(definitions, text2image(**{"9": node("Switch", on=True)}), **{"9.on": "maybe"})


def picture(number: int, filename: str = "", media: MediaType = PNG) -> InputFile:
    return InputFile(bytes([number]), media, filename)


def loaders() -> dict[str, dict[str, Any]]:
    return {
        "1": node("LoadImage", "Face", image="a.png"),
        "2": node("LoadImage", "Style", image="b.png"),
        "3": node("LoadImageMask", "Mask", image="c.png", channel="red"),
        "4": node("VAEEncodeForInpaint", pixels=["1", 0], vae=["9", 2], mask=["3", 0], grow_mask_by=6),
        "5": node("SaveImage", "Save face", images=["1", 0], filename_prefix="x"),
        "6": node("SaveImage", "Save style", images=["2", 0], filename_prefix="x"),
        "7": node("MaskPreview", mask=["3", 0]),
        "8": node("SaveLatent", samples=["4", 0], filename_prefix="x"),
        "9": node("CheckpointLoaderSimple", ckpt_name="x"),
    }


class TestFiles:
    def place(
        self, definitions: Definitions, files: list[InputFile], given: dict[str, Any] | None = None
    ) -> placement.PlacedFiles:
        prompt = loaders()
        return placement.place_files(prompt, workflow.trace(prompt, definitions), files, given or {}, definitions)

    def test_pictures_go_in_the_graphs_order_masks_last(self, definitions: Definitions) -> None:
        files = [picture(number) for number in (1, 2, 3)]

        placed = self.place(definitions, files)

        assert placed.files == {
            InputRef("1", "image"): files[0],
            InputRef("2", "image"): files[1],
            InputRef("3", "image"): files[2],
        }

    def test_file_named_as_an_input_goes_there(self, definitions: Definitions) -> None:
        mask, style, other = picture(1, "mask.png"), picture(2, "STYLE.jpg"), picture(3, "photo.png")

        placed = self.place(definitions, [mask, style, other])

        assert placed.files == {
            InputRef("3", "image"): mask,
            InputRef("2", "image"): style,
            InputRef("1", "image"): other,
        }

    @pytest.mark.parametrize("filename", ["mask.png", "Mask.PNG", "蒙版.png", "遮罩.jpg"])
    def test_file_called_mask_goes_to_the_mask_whatever_its_node_is_called(
        self, filename: str, definitions: Definitions
    ) -> None:
        prompt = loaders()
        prompt["3"]["_meta"]["title"] = "Load Image (as Mask)"
        mask, photo = picture(1, filename), picture(2, "photo.png")

        placed = placement.place_files(prompt, workflow.trace(prompt, definitions), [mask, photo], {}, definitions)

        assert placed.files == {InputRef("3", "image"): mask, InputRef("1", "image"): photo}

    def test_value_that_names_a_file_places_it(self, definitions: Definitions) -> None:
        one, other = picture(1, "one.png"), picture(2, "other.png")

        placed = self.place(definitions, [one, other], {"Style.image": "one.png", "4.grow_mask_by": 3})

        assert placed.files == {InputRef("2", "image"): one, InputRef("1", "image"): other}
        assert placed.values == {"4.grow_mask_by": 3}

    def test_too_many_are_refused(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="loads 3 pictures, more were given") as raised:
            self.place(definitions, [picture(number) for number in range(4)])
        assert "只需要 3 张图片" in raised.value.zh

    def test_kind_that_the_graph_does_not_load_is_refused(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="loads no video"):
            self.place(definitions, [picture(1, media=MP4)])


class TestWithout:
    def test_optional_wire_goes_with_its_node(self, definitions: Definitions) -> None:
        prompt = {
            "1": node("LoadImage", image="a.png"),
            "2": node("ImageScaleToTotalPixels", image=["1", 0], upscale_method="area", megapixels=1.0),
            "3": node("TextEncodeQwenImageEditPlus", clip=["4", 0], prompt="x", image1=["2", 0]),
            "4": node("CLIPLoader", clip_name="x", type="qwen_image"),
            "5": node("PreviewAny", source=["3", 0]),
        }

        less = placement.without(prompt, ["1"], definitions)

        assert less is not None
        assert list(less) == ["3", "4", "5"]
        assert less["3"]["inputs"] == {"clip": ["4", 0], "prompt": "x"}
        assert prompt["3"]["inputs"]["image1"] == ["2", 0]

    def test_graph_that_needs_the_node_for_an_output_cannot_be_without(self, definitions: Definitions) -> None:
        assert placement.without(loaders(), ["2"], definitions) is None
