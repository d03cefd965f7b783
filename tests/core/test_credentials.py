import base64
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
            ("http://user:pa/ss@host:8188", "an @ that may belong to a password"),
            ("http://user:12/34@host", "an @ that may belong to a password"),
            ("http://user:12?34@host", "an @ that may belong to a password"),
            ("http://user:12#34@host", "must not hold a #"),
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
            ("http://host:8188/#abc", "must not hold a #"),
            ("http://host:8188/#", "must not hold a #"),
            ("http://host:8188/?token=1#", "must not hold a #"),
            ("http://host:8188/?token=ä", "holds a character that no address has"),
            ("http://host:8188/?token=a b", "holds a character that no address has"),
            ("http://host:8188/?token=a\r\nX: y", "holds a character that no address has"),
            ("http://user:pass@", "has no usable host name or port"),
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


def basic(base_url: str, **values: Any) -> str | None:
    (server,) = read(base_url=base_url, **values).servers
    authorization = [value for name, value in server.headers if name.lower() == "authorization"]
    if not authorization:
        return None
    (value,) = authorization
    return base64.b64decode(value.removeprefix("Basic ")).decode()


class TestLogins:
    @pytest.mark.parametrize(
        ("login", "sent"),
        [
            ("me:pass", "me:pass"),
            ("me:pa:ss", "me:pa:ss"),
            ("me:p%40s%2Fs%2c%23", "me:p@s/s,#"),
            ("me:p@ss", "me:p@ss"),
            ("me", "me:"),
            (":pass", ":pass"),
            ("m%C3%A9:密码", "mé:密码"),
        ],
    )
    def test_login_in_the_address_becomes_a_header(self, login: str, sent: str) -> None:
        assert basic(f"https://{login}@gpu.example.com/comfy/") == sent
        assert read(base_url=f"https://{login}@gpu.example.com/comfy/").base_urls == ("https://gpu.example.com/comfy",)

    def test_each_server_has_its_own_login(self) -> None:
        first, second = read(base_url="http://a:x@one, http://two", headers="X-Gate: 1").servers

        assert first.headers == (("X-Gate", "1"), ("Authorization", "Basic YTp4"))
        assert second.headers == (("X-Gate", "1"),)

    def test_login_in_the_address_wins_over_what_all_servers_get(self) -> None:
        assert basic("http://a:x@one", api_key="key") == "a:x"
        assert basic("http://a:x@one", headers="authorization: Bearer y") == "a:x"


class TestTokens:
    @pytest.mark.parametrize(
        ("typed", "address", "query"),
        [
            ("http://host:8188?token=1", "http://host:8188", "token=1"),
            ("https://host/prefix/?token=a%2Bb&x=", "https://host/prefix", "token=a%2Bb&x="),
            ("http://host/?a=http://other/?b", "http://host", "a=http://other/?b"),
            ("http://host/x?", "http://host/x", ""),
        ],
    )
    def test_query_of_the_address_goes_its_own_way(self, typed: str, address: str, query: str) -> None:
        (server,) = read(base_url=typed).servers

        assert (server.base_url, server.query) == (address, query)


class TestVerifyTls:
    @pytest.mark.parametrize("typed", [None, "", True, "true", "True", 1, "on"])
    def test_check_is_on(self, typed: Any) -> None:
        assert read(verify_tls=typed).servers[0].verify_tls

    @pytest.mark.parametrize("typed", [False, "false", "False", 0, "0", "off"])
    def test_check_is_off(self, typed: Any) -> None:
        assert not read(verify_tls=typed).servers[0].verify_tls

    def test_anything_else_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="verify_tls must be true or false"):
            read(verify_tls="maybe")


class TestImageBaseUrl:
    def test_image_address_is_optional(self) -> None:
        assert read().image_base_url is None
        assert read(image_base_url="").image_base_url is None

    def test_image_address_is_read_like_the_other(self) -> None:
        assert read(image_base_url="https://pictures.example.com/x/").image_base_url == "https://pictures.example.com/x"

    @pytest.mark.parametrize("typed", ["https://me:pass@host", "https://host/?token=1", "https://host/#x"])
    def test_image_address_has_no_secret(self, typed: str) -> None:
        with pytest.raises(InvalidInput, match=r"^image_base_url must "):
            read(image_base_url=typed)

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
    return {server.base_url: dict(server.headers) for server in read(base_url=base_url, **values).servers}


class TestHeadersOfOneServer:
    def test_login_of_the_address_wins_and_the_others_stay(self) -> None:
        typed = "gpu1.lan=authorization: Bearer one | gpu1.lan=X-Gate: 1 | gpu2.lan=X-Gate: 2"

        assert servers("http://me:pass@gpu1.lan?token=abc, http://gpu2.lan", api_key="abc", headers=typed) == {
            "http://gpu1.lan": {"X-Gate": "1", "Authorization": "Basic bWU6cGFzcw=="},
            "http://gpu2.lan": {"Authorization": "Bearer abc", "X-Gate": "2"},
        }

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


class TestLimits:
    def test_without_any_nothing_is_limited(self) -> None:
        limits = read(blocked_words="", max_pixels=None, max_jobs_per_user=" ")

        assert (len(limits.blocked_words), limits.max_pixels, limits.max_jobs_per_user) == (0, None, None)

    @pytest.mark.parametrize("typed", ["a, b;c", "a\nb\r\n\nc", "a，b、c", " a ,, b ； c,"])
    def test_blocked_words_may_be_parted_in_every_way(self, typed: str) -> None:
        words = read(blocked_words=typed).blocked_words

        assert len(words) == 3
        assert [words.find(word) for word in ("a", "b", "c", "d")] == ["a", "b", "c", None]

    @pytest.mark.parametrize("typed", ["a, ***", "a, 18+", "a, \u200b."])
    def test_entry_that_would_block_everything_or_nothing_is_refused(self, typed: str) -> None:
        with pytest.raises(InvalidInput, match=r"^blocked_words: entry 2 has no letter"):
            read(blocked_words=typed)

    @pytest.mark.parametrize(("typed", "pixels"), [("4", 4_000_000), ("0.5", 500_000), (1.05, 1_050_000), (" 2 ", 2e6)])
    def test_megapixels_are_read(self, typed: Any, pixels: int) -> None:
        assert read(max_pixels=typed).max_pixels == pixels

    @pytest.mark.parametrize(("typed", "jobs"), [("2", 2), (1, 1), ("3.0", 3)])
    def test_jobs_are_read(self, typed: Any, jobs: int) -> None:
        assert read(max_jobs_per_user=typed).max_jobs_per_user == jobs

    @pytest.mark.parametrize("name", ["max_pixels", "max_jobs_per_user"])
    @pytest.mark.parametrize("typed", ["0", "-1", "two", "nan", "inf", "1e999", True])
    def test_number_that_limits_nothing_is_refused_by_name(self, name: str, typed: Any) -> None:
        with pytest.raises(InvalidInput, match=rf"^{name} must be"):
            read(**{name: typed})


class TestFallback:
    @pytest.mark.parametrize("values", [{}, {"fallback_url": "", "fallback_model": " ", "fallback_api_key": SECRET}])
    def test_without_an_address_there_is_none(self, values: dict[str, str]) -> None:
        assert read(**values).fallback is None

    def test_service_is_read(self) -> None:
        fallback = read(
            fallback_url=" https://images.example/v1/ ", fallback_model="m", fallback_sizes="512x512, 640×480"
        ).fallback

        assert fallback is not None
        assert (fallback.url, fallback.model, fallback.api_key) == ("https://images.example/v1", "m", None)
        assert fallback.sizes == ((512, 512), (640, 480))

    @pytest.mark.parametrize(("typed", "sizes"), [("", None), ("none", ()), ("None", ())])
    def test_sizes_may_be_the_usual_ones_or_none(self, typed: str, sizes: Any) -> None:
        fallback = read(fallback_url="http://a/v1", fallback_model="m", fallback_sizes=typed).fallback

        assert fallback is not None
        assert fallback.sizes == sizes

    @pytest.mark.parametrize("values", [{"fallback_url": "http://a/v1"}, {"fallback_model": "m"}])
    def test_half_a_service_is_refused(self, values: dict[str, str]) -> None:
        with pytest.raises(InvalidInput, match=r"^fallback_url and fallback_model go together"):
            read(**values)

    @pytest.mark.parametrize("typed", ["big", "1024", "1024x", "1024x1024, x", ","])
    def test_sizes_that_are_none_are_refused(self, typed: str) -> None:
        with pytest.raises(InvalidInput, match=r"^fallback_sizes must be sizes"):
            read(fallback_url="http://a/v1", fallback_model="m", fallback_sizes=typed)

    def test_address_has_an_example_of_its_own(self) -> None:
        with pytest.raises(InvalidInput, match=r"^fallback_url must begin .* https://api\.openai\.com/v1\.$"):
            read(fallback_url="api.openai.com", fallback_model="m")

    def test_repr_shows_no_key(self) -> None:
        fallback = read(fallback_url="http://a/v1", fallback_model="m", fallback_api_key=SECRET).fallback

        assert SECRET not in f"{fallback} {fallback!r}"


class TestComfyOrgKey:
    @pytest.mark.parametrize(("typed", "key"), [("", None), (None, None), ("  ", None), (" k ", "k")])
    def test_key_is_optional(self, typed: str | None, key: str | None) -> None:
        assert read(comfy_org_api_key=typed).comfy_org_api_key == key


class TestSecrets:
    def test_repr_shows_addresses_only(self) -> None:
        shown = read(
            base_url=f"http://me:{SECRET}@192.168.1.5:8188?token={SECRET}",
            api_key=SECRET,
            headers=f"X-Key: {SECRET}",
            comfy_org_api_key=SECRET,
        )

        assert repr(shown) == "Credentials(base_urls=('http://192.168.1.5:8188',))"
        assert SECRET not in f"{shown} {shown!r} {[shown]} {shown.servers}"

    @pytest.mark.parametrize(
        "values",
        [
            {"base_url": f"http://user:{SECRET}@host:x"},
            {"base_url": f"http://{SECRET}@"},
            {"base_url": f"http://user:1/{SECRET}@host"},
            {"base_url": f"http://user:1?{SECRET}@host"},
            {"base_url": f"http://user:{SECRET},1@host"},
            {"base_url": f"http://host:{SECRET}"},
            {"base_url": f"http://host:x/?token={SECRET}"},
            {"base_url": f"http://host/?token={SECRET}é"},
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
            {"max_pixels": SECRET},
            {"max_jobs_per_user": SECRET},
            {"fallback_url": f"https://x:{SECRET}@host/v1", "fallback_model": "m"},
            {"fallback_url": "http://a/v1", "fallback_model": "m", "fallback_api_key": f"{SECRET}é"},
            {"fallback_url": "http://a/v1", "fallback_model": "m", "fallback_sizes": SECRET},
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
