"""Who gets which version, by values: shares, keys, rollbacks, and what is wrong with a rollout.yaml."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfybridge.service.judging import Figures, failing, slow
from comfybridge.service.rollout import BadRollout, Rollout, Threshold, parse

VERSIONS = {"poster": ("1", "2", "3"), "海报": ("1",)}
USERS = [f"user {number}" for number in range(2000)]

few = settings(max_examples=40)
users = st.text(max_size=20)
two_shares = st.tuples(st.integers(0, 100), st.integers(0, 100)).filter(lambda shares: sum(shares) <= 100)


def assigned(rollout: Rollout, user: str, *, key: str = "", barred: tuple[str, ...] = ()) -> str:
    return rollout.assigned("poster", key=key, owner="owner", user=user, barred=barred)


@few
@given(users, two_shares)
def test_same_caller_gets_the_same_version(user: str, shares: tuple[int, int]) -> None:
    first, second = (Rollout(stable="1", share={"2": shares[0], "3": shares[1]}) for _ in range(2))

    assert assigned(first, user) == assigned(second, user)
    assert first.digest == second.digest


@few
@given(users, two_shares, two_shares)
def test_share_that_grows_takes_nobodys_version_but_the_stable(
    user: str, shares: tuple[int, int], more: tuple[int, int]
) -> None:
    before = Rollout(stable="1", share={"2": shares[0], "3": shares[1]})
    after = Rollout(stable="1", share={"2": max(shares[0], more[0]), "3": max(shares[1], more[1])})
    if sum(after.share.values()) > 100:
        return

    assert assigned(after, user) in {assigned(before, user), "2", "3"}
    if assigned(before, user) != "1":
        assert assigned(after, user) == assigned(before, user)


@few
@given(users, st.lists(st.integers(0, 25), min_size=4, max_size=4), st.integers(0, 3), st.integers(0, 25))
def test_of_many_shares_the_one_that_grows_keeps_its_callers(
    user: str, shares: list[int], which: int, more: int
) -> None:
    names = ["2", "3", "4", "5"]
    before = Rollout(stable="1", share=dict(zip(names, shares, strict=True)))
    shares[which] = min(25, shares[which] + more)
    after = Rollout(stable="1", share=dict(zip(names, shares, strict=True)))

    if assigned(before, user) == names[which]:
        assert assigned(after, user) == names[which]


def test_shares_are_what_they_say_and_independent_of_other_templates() -> None:
    rollout = Rollout(stable="1", share={"2": 10, "3": 30})

    got = [assigned(rollout, user) for user in USERS]
    other = [rollout.assigned("banner", key="", owner="owner", user=user) for user in USERS]

    assert got.count("2") / len(USERS) == pytest.approx(0.10, abs=0.02)
    assert got.count("3") / len(USERS) == pytest.approx(0.30, abs=0.03)
    assert got != other


def test_all_or_nobody() -> None:
    everybody, nobody = Rollout(stable="1", share={"2": 100}), Rollout(stable="1", share={"2": 0})

    assert {assigned(everybody, user) for user in USERS} == {"2"}
    assert {assigned(nobody, user) for user in USERS} == {"1"}
    assert (everybody.candidates, nobody.candidates) == (("2",), ())


def test_key_counts_before_shares_and_a_rollback_before_all() -> None:
    rollout = Rollout(stable="1", share={"2": 100}, keys={"alice": "3", "ben": "1"})

    assert [assigned(rollout, "x", key=key) for key in ("alice", "ben", "", "carl")] == ["3", "1", "2", "2"]
    assert [assigned(rollout, "x", key=key, barred=("2", "3")) for key in ("alice", "")] == ["1", "1"]
    assert rollout.candidates == ("2", "3")


def test_whole_file() -> None:
    text = """
poster:
  stable: 1
  share: {"2": 12.5, 3: 5}
  keys: {alice: "2"}
  threshold: {success: 0.9, window: 30, seconds: 1.5}
海报: {stable: "1"}
"""
    poster = Rollout(
        stable="1",
        share={"2": 12.5, "3": 5},
        keys={"alice": "2"},
        threshold=Threshold(success=0.9, seconds=1.5, window=30, at_least=20),
    )
    assert parse(text, VERSIONS) == {"poster": poster, "海报": Rollout(stable="1")}
    assert parse("", VERSIONS) == parse("# nothing", VERSIONS) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("poster: [1]", "line 1, poster: this must be a map"),
        ("poster:\n  share: {2: 10}", "line 2, poster: stable is missing: one of the versions 1, 2, 3"),
        ("poster:\n  stable: 4", "line 2, poster.stable: there is no version '4'; there are 1, 2, 3"),
        ("poster:\n  stable: 1.0", "line 2, poster.stable: there is no version '1.0'"),
        ("poster: {stable: 1, share: {1: 10}}", "poster.share.1: the stable version gets what is left"),
        ("poster: {stable: 1, share: {9: 10}}", "poster.share: there is no version '9'"),
        ("poster: {stable: 1, share: {2: 10%}}", "poster.share.2: this must be a number, 0 – 100"),
        ("poster: {stable: 1, share: {2: nan}}", "poster.share.2: this must be a number, 0 – 100"),
        ("poster: {stable: 1, share: {2: -1}}", "poster.share.2: this must be a number, 0 – 100"),
        ("poster: {stable: 1,\n share: {2: 60, 3: 41}}", "line 2, poster.share: the shares are more than 100 together"),
        ("poster: {stable: 1, keys: {alice: 7}}", "poster.keys.alice: there is no version '7'"),
        ("poster: {stable: 1, keys: alice}", "poster.keys: this must be a map"),
        (
            "poster: {stable: 1, shares: {2: 1}}",
            "poster.shares: no such field; there are stable, share, keys, threshold",
        ),
        ("poster: {stable: 1, stable: 2}", "poster: stable stands here twice"),
        ("poster: {stable: 1, threshold: {window: 5}}", "poster.threshold: say success, seconds, or both"),
        ("poster: {stable: 1, threshold: {success: 90}}", "poster.threshold.success: this must be a number, 0 – 1"),
        ("poster: {stable: 1, threshold: {success: 1, at_least: 51}}", "at_least: this must be a whole number, 1 – 50"),
        ("poster: {stable: 1, threshold: {success: 1, window: ten}}", "window: this must be a whole number, 1 – 10000"),
        ("postr: {stable: 1}", "line 1, postr: there is no template of this name; near are poster"),
        ("poster: {stable: 1\n", "line 2: this is no YAML: "),
        ("- poster", "line 1: this must be a map"),
        ("a: 1\n---\nb: 2", "this is no YAML"),
        ("? [a, b]\n: 1", "line 1: a name must be a text"),
    ],
)
def test_mistake_is_told_with_line_and_field(text: str, sentence: str) -> None:
    with pytest.raises(BadRollout) as caught:
        parse(text, VERSIONS)

    assert sentence in str(caught.value)
    assert all(
        english.startswith("rollout.yaml, line") and "第" in chinese for english, chinese in caught.value.problems
    )


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadRollout) as caught:
        parse("poster: {stable: 9, share: {2: x}, keys: {a: 8}, more: 1}\nbanner: {}", VERSIONS)

    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("runs", "succeeded", "is_failing"),
    [(20, 18, False), (20, 17, True), (19, 0, False), (50, 44, True), (0, 0, False)],
)
def test_success_rate_counts_from_enough_runs_on(runs: int, succeeded: int, is_failing: bool) -> None:  # noqa: FBT001
    threshold = Threshold(success=0.9, at_least=20)

    assert (failing(threshold, Figures(runs=runs, succeeded=succeeded)) is not None) is is_failing


def test_reason_has_the_figures() -> None:
    reason = failing(Threshold(success=0.9), Figures(runs=40, succeeded=30))
    took = slow(
        Threshold(seconds=1.5),
        Figures(runs=20, succeeded=20, median_s=8.0),
        Figures(runs=50, succeeded=50, median_s=4.0),
    )

    assert reason is not None
    assert reason[0] == "75% of the latest 40 runs succeeded; at least 90% shall."
    assert took is not None
    assert took[0] == "It takes 8.0 s, 2.0 times as long as the stable version (4.0 s); at most 1.5 is allowed."


@pytest.mark.parametrize(
    ("mine", "stable"),
    [
        ((20, 6.0), (20, 4.0)),
        ((19, 9.0), (20, 4.0)),
        ((20, 9.0), (19, 4.0)),
        ((20, 9.0), (20, 0.0)),
        ((20, None), (20, 4.0)),
    ],
)
def test_slowness_is_told_by_enough_runs_of_both(mine: tuple[int, float | None], stable: tuple[int, float]) -> None:
    figures = [Figures(runs=runs, succeeded=runs, median_s=seconds) for runs, seconds in (mine, stable)]

    assert slow(Threshold(seconds=1.5), *figures) is None
