import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge.messages import (
    LINK,
    Ended,
    Frame,
    Interrupted,
    NodeFailed,
    Output,
    Progress,
    QueueSize,
    Started,
    Succeeded,
    read_frame,
    read_history,
    saved,
    sent_with,
)
from tests.core.recorded import FRAMES, HISTORIES

GOOD = "https://x.example/view?filename=a%20b.png&signature=x-_"
HAPPY = "9669f47f-a1e1-404b-a522-a06fb662ac0e"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def read(name: str, connection: str | None = None) -> list[Frame]:
    """The frames of a recording that mean something to us."""
    frames = [frame for frame in FRAMES[name] if connection in (None, frame["conn"])]
    return [frame for each in frames if (frame := read_frame(json.dumps(each["text"]))) is not None]


class TestFrames:
    def test_happy_run_reads_from_queue_to_end(self) -> None:
        frames = read("01")

        assert frames[:3] == [QueueSize(1), QueueSize(1), Started(HAPPY)]
        assert [frame for frame in frames if isinstance(frame, Progress)] == [
            Progress(HAPPY, "3", step, 4) for step in (1, 2, 3, 4)
        ]
        assert frames[-2:] == [QueueSize(0), Ended(HAPPY)]

    def test_two_clients_are_told_apart_by_prompt_id(self) -> None:
        mine = {frame.prompt_id for frame in read("04", "A") if not isinstance(frame, QueueSize)}
        others = {frame.prompt_id for frame in read("04", "B") if not isinstance(frame, QueueSize)}

        assert mine
        assert not mine & others

    def test_failed_run_ends_like_a_good_one(self) -> None:
        ended = [frame for frame in read("06") if isinstance(frame, Ended)]

        assert ended[0] == Ended("29fee7cb-534a-4c12-98bc-442189898672")

    def test_node_named_after_a_reconnect_without_prompt_id_belongs_to_nobody(self) -> None:
        frame = next(
            each["text"]
            for each in FRAMES["09"]
            if each["text"]["type"] == "executing" and "prompt_id" not in each["text"]["data"]
        )

        assert frame["data"] == {"node": "3"}
        assert read_frame(json.dumps(frame)) is None

    def test_greeting_of_a_new_socket_says_nothing_of_our_prompts(self) -> None:
        text = '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 7}}, "sid": "abc"}}'

        assert read_frame(text) is None

    def test_later_status_is_a_queue_size(self) -> None:
        text = '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 7}}}}'

        assert read_frame(text) == QueueSize(7)

    def test_bytes_are_read_as_text(self) -> None:
        assert read_frame(b'{"type": "execution_start", "data": {"prompt_id": "p", "timestamp": 1}}') == Started("p")

    @pytest.mark.parametrize(
        "kind", ["execution_cached", "progress_state", "executed", "execution_success", "execution_error"]
    )
    def test_kinds_that_decide_nothing_are_left_out(self, kind: str) -> None:
        frames = [each["text"] for name in FRAMES for each in FRAMES[name] if each["text"]["type"] == kind]

        assert frames
        assert {read_frame(json.dumps(frame)) for frame in frames} == {None}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[" * 100_000,
            "null",
            "[]",
            "7",
            '"status"',
            "{}",
            '{"type": "status"}',
            '{"type": "status", "data": null}',
            '{"type": "status", "data": {"status": {}}}',
            '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": "many"}}}}',
            '{"type": "progress", "data": {"prompt_id": "p", "node": "3", "value": null, "max": 4}}',
            '{"type": "executing", "data": {}}',
            '{"type": ["status"], "data": {}}',
            '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}',
            '{"type": "crystools.monitor", "data": {"cpu_utilization": 5.0}}',
            b"\xff\xfe\x00",
        ],
    )
    def test_junk_is_no_frame(self, text: str | bytes) -> None:
        assert read_frame(text) is None

    @pytest.mark.parametrize("number", ["1" + "0" * 400, "Infinity", "NaN"])
    def test_absurd_queue_size_is_no_frame(self, number: str) -> None:
        text = f'{{"type": "status", "data": {{"status": {{"exec_info": {{"queue_remaining": {number}}}}}}}}}'

        assert read_frame(text) is None or number.isdigit()

    def test_absurd_progress_is_no_frame(self) -> None:
        value = "1" + "0" * 400
        text = f'{{"type": "progress", "data": {{"prompt_id": "p", "node": "3", "value": {value}, "max": 4}}}}'

        assert read_frame(text) is None

    @pytest.mark.parametrize("prompt_id", [[], {}], ids=str)
    def test_prompt_id_that_is_no_text_is_no_frame(self, prompt_id: Any) -> None:
        text = json.dumps({"type": "execution_start", "data": {"prompt_id": prompt_id}})

        assert read_frame(text) is None

    @given(st.binary(max_size=64))
    def test_no_bytes_make_the_reader_fail(self, data: bytes) -> None:
        read_frame(data)

    @given(st.sampled_from(("status", "execution_start", "progress", "executing", "executed")), JSON)
    def test_no_data_makes_the_reader_fail(self, kind: str, data: Any) -> None:
        read_frame(json.dumps({"type": kind, "data": data}))

    @given(JSON, JSON)
    def test_no_progress_makes_the_reader_fail(self, value: Any, maximum: Any) -> None:
        data = {"prompt_id": "p", "node": "3", "value": value, "max": maximum}

        read_frame(json.dumps({"type": "progress", "data": data}))


PARTS = st.sampled_from(
    (
        "status",
        "status_str",
        "messages",
        "outputs",
        "prompt",
        "error",
        "execution_error",
        "execution_cached",
        "nodes",
        "9",
    )
)
LIKE_HISTORY = st.recursive(
    st.none() | st.integers() | PARTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(PARTS, inner, max_size=4),
    max_leaves=16,
)


class TestHistory:
    @given(st.dictionaries(PARTS, LIKE_HISTORY))
    def test_no_entry_makes_the_reader_fail(self, entry: dict[str, Any]) -> None:
        read_history(entry)
        sent_with(entry)

    def test_success_names_the_file(self) -> None:
        entry = read_history(HISTORIES["success"])

        assert entry == Succeeded((Output("9", "lab_00001_.png", "", "output"),))

    @pytest.mark.parametrize(
        ("link", "wanted"),
        [
            (GOOD, GOOD),
            ("javascript:alert(1)", ""),
            ("https://x.example/a)[b](https://evil.example", ""),
            ("https://x.example/a b", ""),
            ("https://x.example/\n", ""),
            ("https://x.example/" + "a" * 3000, ""),
            (None, ""),
            (["https://x.example"], ""),
        ],
    )
    def test_link_of_a_gateway_is_one_that_markdown_can_hold(self, link: Any, wanted: str) -> None:
        file = {"filename": "a b.png", "subfolder": "", "type": "output", LINK: link}

        entry = read_history({"outputs": {"9": {"images": [file]}}})

        assert isinstance(entry, Succeeded)
        assert [output.link for output in entry.outputs] == [wanted]

    def test_cached_run_names_the_old_file_and_the_nodes_that_did_not_run(self) -> None:
        entry = read_history(HISTORIES["cached"])

        assert isinstance(entry, Succeeded)
        assert entry.outputs == (Output("9", "s02_00001_.png", "", "output"),)
        assert "9" in entry.cached
        assert entry.cached == HISTORIES["cached"]["prompt"][2].keys()

    def test_batch_keeps_order_and_subfolder(self) -> None:
        entry = read_history(HISTORIES["batch of three"])

        assert isinstance(entry, Succeeded)
        assert entry.outputs == (
            Output("9", "batch_00001_.png", "s03sub", "output"),
            Output("9", "batch_00002_.png", "s03sub", "output"),
            Output("9", "batch_00003_.png", "s03sub", "output"),
        )
        assert "9" not in entry.cached

    @pytest.mark.parametrize("name", ["cached without client_id", "websocket image only"])
    def test_success_without_a_file_is_an_empty_success(self, name: str) -> None:
        entry = read_history(HISTORIES[name])

        assert isinstance(entry, Succeeded)
        assert (entry.outputs, entry.texts) == ((), ())

    def test_texts_that_nodes_show_are_read(self) -> None:
        assert read_history(HISTORIES["text only"]) == Succeeded((), ("hello text",))

    def test_error_wins_over_the_outputs_of_earlier_nodes(self) -> None:
        entry = HISTORIES["error after an output"]

        assert entry["outputs"]
        assert read_history(entry) == NodeFailed("1", "LoadImage", "OSError", "Truncated File Read")

    def test_error_leaves_the_traceback_behind(self) -> None:
        entry = read_history(HISTORIES["error"])

        assert isinstance(entry, NodeFailed)
        assert (entry.node_id, entry.class_type, entry.exception_type) == ("3", "VAEDecode", "RuntimeError")
        assert entry.exception_message.startswith("Given groups=1, weight of size [512, 16, 3, 3]")
        assert "execution.py" not in repr(entry)

    def test_interrupted_is_no_failure(self) -> None:
        assert read_history(HISTORIES["interrupted"]) == Interrupted("3")

    def test_error_without_a_cause_is_still_an_error(self) -> None:
        entry = read_history({"status": {"status_str": "error", "completed": False, "messages": []}, "outputs": {}})

        assert isinstance(entry, NodeFailed)
        assert entry.exception_message == "ComfyUI reported an error without a cause"

    def test_blocked_node_in_a_run_that_succeeded_is_no_failure(self) -> None:
        entry = {
            **HISTORIES["success"],
            "status": {
                "status_str": "success",
                "completed": True,
                "messages": [["execution_error", {"node_id": "8", "exception_message": "Execution Blocked: no mask"}]],
            },
        }

        assert read_history(entry) == Succeeded((Output("9", "lab_00001_.png", "", "output"),))

    def test_subgraph_ids_are_node_ids(self) -> None:
        assert read_history(HISTORIES["z-image"]) == Succeeded((Output("9", "z-image-turbo_00001_.png", "", "output"),))

    def test_outputs_come_in_the_order_of_the_graph_not_of_execution(self) -> None:
        entry = read_history(HISTORIES["audio"])

        assert isinstance(entry, Succeeded)
        assert [output.node_id for output in entry.outputs] == ["2", "3", "4"]

    def test_output_of_a_node_that_the_graph_lacks_comes_last(self) -> None:
        entry = {
            "prompt": [1, "p", {"9": {}, "3": {}}, {}, ["9"]],
            "outputs": {
                "77": {"images": [{"filename": "c.png"}]},
                "3": {"images": [{"filename": "b.png", "subfolder": "s", "type": "temp"}]},
                "9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]},
            },
        }

        assert read_history(entry) == Succeeded(
            (Output("9", "a.png", "", "output"), Output("3", "b.png", "s", "temp"), Output("77", "c.png", "", "output"))
        )

    def test_flag_beside_the_files_is_no_file(self) -> None:
        entry = read_history(HISTORIES["animated webp"])

        assert isinstance(entry, Succeeded)
        assert entry.outputs == (Output("2", "aw_00001_.webp", "", "output"),)

    def test_null_output_of_a_cached_node_is_no_file(self) -> None:
        entry = {"prompt": [0, "p", {"9": {}}], "outputs": {"9": None}, "status": {"status_str": "success"}}

        assert read_history(entry) == Succeeded(())

    def test_entry_without_a_status_is_judged_by_its_outputs(self) -> None:
        entry = {"prompt": [0, "p", {"9": {}}], "outputs": {"9": {"images": [{"filename": "a.png"}]}}, "status": None}

        assert read_history(entry) == Succeeded((Output("9", "a.png", "", "output"),))


class TestSaved:
    def test_previews_are_left_out_when_something_was_saved(self) -> None:
        kept, shown = Output("9", "a.png", "", "output"), Output("3", "b.png", "", "temp")

        assert saved((shown, kept, shown)) == (kept,)

    def test_previews_are_all_there_is_when_nothing_was_saved(self) -> None:
        entry = read_history(HISTORIES["previews only"])

        assert isinstance(entry, Succeeded)
        assert [output.filename for output in saved(entry.outputs)] == [
            "ComfyUI_temp_sbaiq_00001_.png",
            "ComfyUI_temp_sbaiq_00002_.png",
            "ComfyUI_temp_sbaiq_00003_.png",
        ]

    def test_nothing_stays_nothing(self) -> None:
        assert saved(()) == ()
