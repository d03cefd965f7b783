import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comfybridge import credentials
from comfybridge.errors import InvalidInput

URL = "http://192.168.1.5:8188"
SECRET = "s3cr3t-tok3n"


def read(**values: Any) -> credentials.Credentials:
    return credentials.read({"base_url": URL, **values})


class TestBaseUrl:
    @pytest.mark.parametrize(
        ("typed", "addresses"),
        [
            ("http://localhost:8188", ("http://localhost:8188",)),
            ("  http://localhost:8188  ", ("http://localhost:8188",)),
            ("http://localhost:8188/", ("http://localhost:8188",)),
            ("http://localhost:8188///", ("http://localhost:8188",)),
            ("https://gpu.example.com", ("https://gpu.example.com",)),
            ("https://gpu.example.com/comfy/", ("https://gpu.example.com/comfy",)),
            ("http://[::1]:8188", ("http://[::1]:8188",)),
            ("http://a:1,http://b:2", ("http://a:1", "http://b:2")),
            (" http://a:1 , http://b:2/x/ ,", ("http://a:1", "http://b:2/x")),
        ],
    )
    def test_address_is_read(self, typed: str, addresses: tuple[str, ...]) -> None:
        assert read(base_url=typed).base_urls == addresses

    def test_upper_case_scheme_is_written_small(self) -> None:
        assert read(base_url="HTTPS://gpu.example.com").base_urls == ("https://gpu.example.com",)

    @pytest.mark.parametrize("typed", ["", "  ", ",", None])
    def test_empty_address_gives_an_example(self, typed: str | None) -> None:
        with pytest.raises(InvalidInput, match=r"base_url is empty.*http://192\.168\.1\.5:8188"):
            read(base_url=typed)

    def test_missing_address_gives_an_example(self) -> None:
        with pytest.raises(InvalidInput, match="base_url is empty"):
            credentials.read({})

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ("192.168.1.5:8188", "must begin with http:// or https://"),
            ("localhost:8188", "must begin with http:// or https://"),
            ("ftp://host", "must begin with http:// or https://"),
            ("ws://host:8188", "must begin with http:// or https://"),
            ("http:/host", "must begin with http:// or https://"),
            ("http:\\\\host", "must begin with http:// or https://"),
            ("http://user@host:8188", "must not hold a user name or password"),
            ("http://user:pass@host:8188", "must not hold a user name or password"),
            ("http://:pass@host:8188", "must not hold a user name or password"),
            ("http://", "has no usable host name or port"),
            ("http://:8188", "has no usable host name or port"),
            ("http:///path", "has no usable host name or port"),
            ("http://host:0", "has no usable host name or port"),
            ("http://ho st:8188", "has no usable host name or port"),
            ("http://host:8188/a b", "has no usable host name or port"),
            ("http://ho\nst:8188", "has no usable host name or port"),
            ("http://host:99999", "is not an address"),
            ("http://host:abc", "is not an address"),
            ("http://host:-1", "is not an address"),
            ("http://[::1", "is not an address"),
            ("http://[zz]:8188", "is not an address"),
            ("http://host:8188?token=1", "must end with the path"),
            ("http://host:8188/#abc", "must end with the path"),
            ("http://host:8188/x?", "must end with the path"),
            ("http://host:8188/#", "must end with the path"),
        ],
    )
    def test_unusable_address_says_why(self, typed: str, words: str) -> None:
        with pytest.raises(InvalidInput, match=words) as raised:
            read(base_url=typed)

        assert str(raised.value).startswith("base_url ")
        assert str(raised.value).endswith("Write it like http://192.168.1.5:8188.")
        assert raised.value.zh.startswith("base_url ")

    def test_one_bad_address_of_two_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="must begin with http"):
            read(base_url=f"{URL},gpu:8188")


class TestImageBaseUrl:
    def test_image_address_is_optional(self) -> None:
        assert read().image_base_url is None
        assert read(image_base_url="").image_base_url is None

    def test_image_address_is_read_like_the_other(self) -> None:
        assert read(image_base_url="https://pictures.example.com/x/").image_base_url == "https://pictures.example.com/x"

    def test_bad_image_address_names_its_field(self) -> None:
        with pytest.raises(InvalidInput, match=r"^image_base_url must begin with http"):
            read(image_base_url="pictures.example.com")

    def test_image_address_needs_a_single_server(self) -> None:
        with pytest.raises(InvalidInput, match="image_base_url works with one server only"):
            read(base_url="http://a:1,http://b:2", image_base_url="http://c:3")


class TestHeaders:
    def test_without_any_there_are_none(self) -> None:
        assert read().headers == ()

    def test_api_key_is_a_bearer_token(self) -> None:
        assert read(api_key=" abc ").headers == (("Authorization", "Bearer abc"),)

    @pytest.mark.parametrize(
        "typed",
        [
            "CF-Access-Client-Id: id.access\nCF-Access-Client-Secret: s3",
            "CF-Access-Client-Id:id.access\r\n\r\n  CF-Access-Client-Secret :  s3  ",
            "CF-Access-Client-Id: id.access | CF-Access-Client-Secret: s3",
            '{"CF-Access-Client-Id": "id.access", "CF-Access-Client-Secret": "s3"}',
            '  {"CF-Access-Client-Id": " id.access ", "CF-Access-Client-Secret": "s3"}',
        ],
        ids=["lines", "blank lines", "bars", "json", "json with blanks"],
    )
    def test_headers_are_read_in_every_form(self, typed: str) -> None:
        assert read(headers=typed).headers == (
            ("CF-Access-Client-Id", "id.access"),
            ("CF-Access-Client-Secret", "s3"),
        )

    def test_value_keeps_its_colons(self) -> None:
        assert read(headers="X-Url: http://a:1/b").headers == (("X-Url", "http://a:1/b"),)

    def test_json_number_is_a_text(self) -> None:
        assert read(headers='{"X-Team": 7}').headers == (("X-Team", "7"),)

    def test_basic_login_in_headers_wins_over_the_key(self) -> None:
        assert read(api_key="abc", headers="Authorization: Basic dTpw").headers == (("Authorization", "Basic dTpw"),)

    def test_names_that_differ_in_case_are_one_header(self) -> None:
        headers = read(api_key="abc", headers="authorization: Basic dTpw").headers

        assert [value for name, value in headers if name.lower() == "authorization"] == ["Basic dTpw"]

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ("just text", "entry 1 is not 'Name: value'"),
            ("A: 1\nbroken", "entry 2 is not 'Name: value'"),
            (": value", "entry 1 is not 'Name: value'"),
            ('{"A": ', "the JSON object cannot be read"),
            ('{"A": null}', "every value of the JSON object must be a text"),
            ('{"A": ["x"]}', "every value of the JSON object must be a text"),
            ('{"": "x"}', "a header's name has a character"),
            ('{"A:B": "x"}', "a header's name has a character"),
            ("A B: x", "a header's name has a character"),
            ("A,B: x", "a header's name has a character"),
        ],
    )
    def test_malformed_headers_say_how_they_are_written(self, typed: str, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            read(headers=typed)

    @pytest.mark.parametrize("typed", ['["A: 1"]', '"A: 1"', "(A): 1", "A/B: 1", "A=1; B: 1"])
    def test_name_with_a_character_that_http_forbids_is_refused(self, typed: str) -> None:
        with pytest.raises(InvalidInput, match=r"^headers: a header's name has a character"):
            read(headers=typed)

    def test_empty_object_is_no_header(self) -> None:
        assert read(headers="{}").headers == ()

    @pytest.mark.parametrize(
        "values",
        [
            {"api_key": "a\r\nX-Evil: 1"},
            {"api_key": "密钥"},
            {"api_key": "a\x00b"},
            {"headers": '{"A": "1\\r\\nX-Evil: 1"}'},
            {"headers": '{"A\\r\\nX-Evil": "1"}'},
            {"headers": "A: é"},
            {"headers": '{"A": "\\u0000"}'},
            {"headers": "Ä: 1"},
            {"headers": "A: 1\x0bX-Evil: 1"},
        ],
        ids=str,
    )
    def test_nothing_can_be_smuggled_into_a_request(self, values: dict[str, str]) -> None:
        sent, refusal = "", ""
        try:
            sent = "".join(name + value for name, value in read(**values).headers)
        except InvalidInput as error:
            refusal = str(error)

        assert "Evil" not in refusal
        assert sent.isascii()
        assert sent.isprintable()

    @given(st.text())
    def test_any_text_is_sendable_or_refused(self, text: str) -> None:
        try:
            headers = read(headers=text).headers
        except InvalidInput:
            return
        for name, value in headers:
            assert name
            assert f"{name}{value}".isascii()
            assert "\r" not in f"{name}{value}"
            assert "\n" not in f"{name}{value}"


TWO = "http://gpu1.lan:8188, https://gpu2.lan/comfy"


def servers(base_url: str, **values: str) -> dict[str, dict[str, str]]:
    return {url: dict(headers) for url, headers in read(base_url=base_url, **values).servers}


class TestHeadersOfOneServer:
    @pytest.mark.parametrize(
        "typed",
        [
            "X-All: y | gpu2.lan=X-Api-Key: abc",
            "gpu2.lan=X-Api-Key: abc\nX-All: y",
            "GPU2.lan = X-Api-Key : abc | X-All:y",
            "X-All: y | gpu2.lan:443=X-Api-Key: abc",
            "X-All: y | https://gpu2.lan=X-Api-Key: abc",
            "X-All: y | https://gpu2.lan/comfy/=X-Api-Key:abc",
            '{"X-All": "y", "gpu2.lan": {"X-Api-Key": "abc"}}',
        ],
    )
    def test_header_goes_to_the_server_that_is_named(self, typed: str) -> None:
        assert servers(TWO, headers=typed) == {
            "http://gpu1.lan:8188": {"X-All": "y"},
            "https://gpu2.lan/comfy": {"X-All": "y", "X-Api-Key": "abc"},
        }
        assert read(base_url=TWO, headers=typed).headers == (("X-All", "y"),)

    def test_port_and_path_tell_servers_on_one_host_apart(self) -> None:
        typed = "h:1=A: 1 | h:2/x=A: 2 | [::1]:3=A: 3"

        assert servers("http://h:1,http://h:2/x,http://h:2/y,http://[::1]:3", headers=typed) == {
            "http://h:1": {"A": "1"},
            "http://h:2/x": {"A": "2"},
            "http://h:2/y": {},
            "http://[::1]:3": {"A": "3"},
        }

    def test_ones_own_header_wins_over_the_key_and_over_that_of_all(self) -> None:
        typed = "X-Team: blue | gpu2.lan=authorization: Basic dTpw | gpu2.lan=x-team: red"

        assert servers(TWO, api_key="abc", headers=typed) == {
            "http://gpu1.lan:8188": {"Authorization": "Bearer abc", "X-Team": "blue"},
            "https://gpu2.lan/comfy": {"authorization": "Basic dTpw", "x-team": "red"},
        }

    @pytest.mark.parametrize("typed", ["X-Sum: a=b: c", "X-Sum: gpu2.lan=X-Key: c", "X-Url:http://gpu2.lan/a=b"])
    def test_equals_sign_in_a_value_names_no_server(self, typed: str) -> None:
        assert all(len(headers) == 1 for headers in servers(TWO, headers=typed).values())

    @pytest.mark.parametrize(
        "typed",
        [
            f"gpu3.lan=X-Api-Key: {SECRET}",
            f"gpu2.lan:8188=X-Api-Key: {SECRET}",
            f"http://gpu2.lan=X-Api-Key: {SECRET}",
            f"gpu2.lan/other=X-Api-Key: {SECRET}",
            f'{{"gpu3.lan": {{"X-Api-Key": "{SECRET}"}}}}',
            f'{{"{SECRET}": {{"X-Api-Key": "{SECRET}"}}}}',
        ],
    )
    def test_server_that_nobody_named_is_refused_with_the_addresses(self, typed: str) -> None:
        with pytest.raises(InvalidInput, match=r"base_url: http://gpu1.lan:8188, https://gpu2.lan/comfy\.$") as raised:
            read(base_url=TWO, headers=typed)

        assert "http://gpu1.lan:8188、https://gpu2.lan/comfy" in raised.value.zh
        assert SECRET not in f"{raised.value} {raised.value.zh}"

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ('{"gpu2.lan": {"A": null}}', "every value of the JSON object must be a text"),
            ('{"gpu2.lan": {"A": {"B": "c"}}}', "every value of the JSON object must be a text"),
            ('{"gpu2.lan": {"A B": "c"}}', "a header's name has a character"),
            ("gpu2.lan=A: é", "plain ASCII"),
        ],
    )
    def test_what_is_sent_to_one_server_is_checked_too(self, typed: str, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            read(base_url=TWO, headers=typed)

    def test_repr_does_not_show_it(self) -> None:
        assert SECRET not in repr(read(base_url=TWO, headers=f"gpu2.lan=X-Api-Key: {SECRET}"))


class TestMaxPromptLength:
    @pytest.mark.parametrize(
        ("typed", "length"),
        [("", 8000), (None, 8000), ("200", 200), (200, 200), (200.0, 200), ("200.0", 200), (" 1e3 ", 1000), (1, 1)],
    )
    def test_length_is_read(self, typed: Any, length: int) -> None:
        assert read(max_prompt_length=typed).max_prompt_length == length

    def test_missing_length_is_the_default(self) -> None:
        assert read().max_prompt_length == 8000

    @pytest.mark.parametrize("typed", ["0", "-5", "abc", "nan", "inf", "-inf", "1e999", "0.5", True, "１x"])
    def test_unusable_length_is_refused(self, typed: Any) -> None:
        with pytest.raises(InvalidInput, match=r"max_prompt_length must be a number of characters from 1 up"):
            read(max_prompt_length=typed)


class TestComfyOrgKey:
    @pytest.mark.parametrize(("typed", "key"), [("", None), (None, None), ("  ", None), (" k ", "k")])
    def test_key_is_optional(self, typed: str | None, key: str | None) -> None:
        assert read(comfy_org_api_key=typed).comfy_org_api_key == key


class TestSecrets:
    def test_repr_shows_addresses_only(self) -> None:
        shown = read(api_key=SECRET, headers=f"X-Key: {SECRET}", comfy_org_api_key=SECRET)

        assert repr(shown) == "Credentials(base_urls=('http://192.168.1.5:8188',))"
        assert SECRET not in f"{shown} {shown!r} {[shown]}"

    @pytest.mark.parametrize(
        "values",
        [
            {"base_url": f"http://user:{SECRET}@host:8188"},
            {"base_url": f"http://{SECRET}@host:8188"},
            {"base_url": f"http://host:{SECRET}"},
            {"base_url": f"http://host/?token={SECRET}"},
            {"base_url": f"http://host/#{SECRET}"},
            {"base_url": f"//{SECRET}"},
            {"base_url": f"http://[{SECRET}"},
            {"image_base_url": f"http://user:{SECRET}@host"},
            {"api_key": f"{SECRET}é"},
            {"headers": SECRET},
            {"headers": f'{{"A": "{SECRET}'},
            {"headers": f'{{"A": ["{SECRET}"]}}'},
            {"headers": f"X-Key: {SECRET}é"},
            {"headers": f"{SECRET} : 1, 2\n{SECRET} x: 1"},
            {"headers": f"{SECRET}=X: 1"},
            {"headers": f"other=X: {SECRET}"},
            {"max_prompt_length": SECRET},
        ],
        ids=str,
    )
    def test_no_error_repeats_what_was_typed(self, values: dict[str, str]) -> None:
        with pytest.raises(InvalidInput) as raised:
            read(**values)

        error = raised.value
        assert SECRET not in f"{error} {error!r} {error.zh}"
        assert error.__suppress_context__ or error.__context__ is None

    @given(
        st.sampled_from(("base_url", "image_base_url", "api_key", "headers", "comfy_org_api_key", "max_prompt_length")),
        st.text(max_size=20),
        st.text(max_size=20),
    )
    def test_no_error_and_no_repr_shows_a_secret_typed_into_any_field(
        self, field: str, before: str, after: str
    ) -> None:
        assume(field != "base_url" or "@" in before + after)
        values = {"base_url": URL, field: f"{before}{SECRET}{after}"}

        try:
            shown = repr(credentials.read(values))
        except InvalidInput as error:
            shown = f"{error} {error!r} {error.zh}"

        assert SECRET not in shown

    @given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
    def test_any_headers_object_is_read_or_refused(self, headers: dict[str, Any]) -> None:
        refusal = "headers"
        try:
            read(headers=json.dumps(headers))
        except InvalidInput as error:
            refusal = str(error)

        assert refusal.startswith("headers")
