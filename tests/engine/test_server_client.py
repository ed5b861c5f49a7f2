"""Requests to several servers, against fake ones that lose them or answer nonsense."""

from __future__ import annotations

import json
import math
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from engine.fake_server import Answer, completion, serve, usual_answer

from tsallis_run.engine.server import client as client_module
from tsallis_run.engine.server.addresses import Addresses
from tsallis_run.engine.server.client import Client
from tsallis_run.types import CompletionRequest, EngineError

VOCABULARY = 48
NOBODY = "http://127.0.0.1:9"
"""The port of a service that no machine offers."""


@contextmanager
def server(answer: Answer = usual_answer) -> Iterator[str]:
    fake = serve(0, answer)
    threading.Thread(target=fake.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{fake.server_port}"
    finally:
        fake.shutdown()
        fake.server_close()


def client(
    *urls: str,
    timeout_seconds: float = 20.0,
    silence_seconds: float | None = None,
    look_up: Callable[[], Addresses] | None = None,
) -> Client:
    return Client(
        look_up or (lambda: Addresses(urls)),
        vocabulary=VOCABULARY,
        first_server=0,
        timeout_seconds=timeout_seconds,
        silence_seconds=silence_seconds,
    )


def requests(count: int) -> list[CompletionRequest]:
    return [CompletionRequest((5, i % VOCABULARY), 3, (), seed=i) for i in range(count)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSE_SECONDS", 0.02)


def counting(counts: list[str]) -> Answer:
    def answer(path: str, body: Any) -> tuple[int, str]:
        counts.append(path)
        return usual_answer(path, body)

    return answer


def test_completions_come_in_the_order_of_the_requests_spread_evenly_over_the_servers() -> None:
    seen: tuple[list[str], list[str]] = ([], [])
    with ExitStack() as stack:
        urls = [stack.enter_context(server(counting(counts))) for counts in seen]
        completions = client(*urls).complete(requests(40))
    assert [c.ids for c in completions] == [(i % VOCABULARY,) * 3 for i in range(40)]
    assert [c.log_probs for c in completions] == [(-float(i),) * 3 for i in range(40)]
    assert [len(counts) for counts in seen] == [20, 20]


def test_what_a_server_loses_is_asked_for_again_and_nothing_else_is() -> None:
    lost, asked = {1, 4}, []

    def forgetful(path: str, body: Any) -> tuple[int, str]:
        asked.append(body["seed"])
        if body["seed"] not in lost:
            return usual_answer(path, body)
        lost.remove(body["seed"])
        if body["seed"] == 1:
            return 500, "EngineDeadError"
        aborted = completion(body)
        aborted["choices"][0]["finish_reason"] = "abort"
        return 200, json.dumps(aborted)

    with server(forgetful) as url:
        completions = client(url).complete(requests(6))
    assert [c.ids[0] for c in completions] == list(range(6))
    assert sorted(asked) == [0, 1, 1, 2, 3, 4, 4, 5]


def test_requests_to_a_dead_server_are_sent_to_another() -> None:
    with server() as url:
        completions = client(NOBODY, url).complete(requests(6))
    assert [c.ids[0] for c in completions] == list(range(6))


def test_servers_that_are_all_dead_are_told_by_their_address() -> None:
    with pytest.raises(EngineError, match=f"{NOBODY} failed 5 times: ClientConnectorError"):
        client(NOBODY).complete(requests(2))


def test_requests_break_off_once_there_will_be_no_more_servers() -> None:
    asked, done = threading.Event(), threading.Event()

    def slow(path: str, body: Any) -> tuple[int, str]:
        asked.set()
        done.wait(timeout=60)
        return usual_answer(path, body)

    with server(slow) as url:
        told = client(url, look_up=lambda: Addresses((), "the end") if asked.is_set() else Addresses((url,)))
        start = time.monotonic()
        with pytest.raises(EngineError, match=r"^the end$"):
            told.complete(requests(2))
        assert time.monotonic() - start < 5
        done.set()


def edited(edit: Callable[[dict[str, Any]], None]) -> Answer:
    def answer(_path: str, body: Any) -> tuple[int, str]:
        whole = completion(body)
        edit(whole["choices"][0])
        return 200, json.dumps(whole)

    return answer


NONSENSE: dict[str, tuple[Answer, str]] = {
    "two completions": (
        lambda _, body: (200, json.dumps({"choices": completion(body)["choices"] * 2})),
        "something else than one completion",
    ),
    "none": (lambda _, body: (200, json.dumps({"choices": []})), "something else than one completion"),
    "a list": (lambda _, body: (200, "[]"), "something else than one completion"),
    "a page": (lambda _, body: (200, "<html>"), "something else than JSON"),
    "no ids": (edited(lambda choice: choice.pop("token_ids")), "outside the vocabulary of 48"),
    "an id too large": (edited(lambda choice: choice.update(token_ids=[1, 48, 2])), "outside the vocabulary of 48"),
    "a negative id": (edited(lambda choice: choice.update(token_ids=[1, -1, 2])), "outside the vocabulary of 48"),
    "too few ids": (edited(lambda choice: choice.update(token_ids=[1, 2])), "after 2 of 3 tokens"),
    "too many ids": (edited(lambda choice: choice.update(token_ids=[1] * 4)), "after 4 of 3 tokens"),
    "no log-probs": (edited(lambda choice: choice.update(logprobs=None)), "no numbers"),
    "too few log-probs": (edited(lambda choice: choice["logprobs"]["token_logprobs"].pop()), "2 log-probs for 3"),
    "a NaN": (edited(lambda choice: choice["logprobs"].update(token_logprobs=[-1, math.nan, -1])), "no numbers"),
    "a refusal": (lambda _, body: (400, "the prompt is too long"), "status 400: the prompt is too long"),
}


@pytest.mark.parametrize(("answer", "complaint"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_an_error_and_not_asked_for_again(answer: Answer, complaint: str) -> None:
    asked: list[str] = []

    def counted(path: str, body: Any) -> tuple[int, str]:
        asked.append(path)
        return answer(path, body)

    with server(counted) as url, pytest.raises(EngineError, match=complaint):
        client(url).complete(requests(1))
    assert len(asked) == 1


def test_scores_are_those_of_every_server() -> None:
    def scoring(log_prob: float) -> Answer:
        rows = [None, {"7": {"logprob": log_prob}}, {"8": {"logprob": 2 * log_prob}, "9": {"logprob": 0.0}}]
        return edited(lambda choice: choice.update(prompt_logprobs=rows))

    with server(scoring(-1.0)) as one, server(scoring(-2.0)) as other:
        assert client(one, other).score((6, 7, 8)) == [[-1.0, -2.0], [-2.0, -4.0]]
    with server(scoring(-1.0)) as one, pytest.raises(EngineError, match="scored something else than the 4 tokens"):
        client(one).score((6, 7, 8, 9))


def slow(path: str, body: Any) -> tuple[int, str]:
    if path == "/v1/completions":
        time.sleep(1.5)
    return usual_answer(path, body)


def test_a_call_that_takes_longer_than_its_limit_ends_in_an_error() -> None:
    with (
        server(slow) as url,
        pytest.raises(EngineError, match=rf"timeout_seconds=0.3 passed .* of 2 requests .* {url}"),
    ):
        client(url, timeout_seconds=0.3).complete(requests(2))


def test_a_given_server_without_a_sign_of_life_is_an_error_and_a_slow_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(path: str, body: Any) -> tuple[int, str]:
        time.sleep(1.5)
        return usual_answer(path, body)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (2, 2))  # one connection: the others queue
    with server(slow) as url:
        assert len(client(url, silence_seconds=1.0).complete(requests(2))) == 2
    with server(silent) as url, pytest.raises(EngineError, match=f"{url} gave no sign of life for 0.5 s"):
        client(url, silence_seconds=0.5).complete(requests(2))


def test_while_no_worker_is_up_requests_wait_and_where_none_will_be_they_end() -> None:
    with server() as url:
        book = iter([Addresses(()), Addresses(()), Addresses((url,)), Addresses((url,))])
        waiting = Client(lambda: next(book), VOCABULARY, 0, timeout_seconds=20.0, silence_seconds=None)
        assert len(waiting.complete(requests(1))) == 1
    given_up = Client(
        lambda: Addresses((), "worker 0 is gone"), VOCABULARY, 0, timeout_seconds=20.0, silence_seconds=None
    )
    with pytest.raises(EngineError, match="worker 0 is gone"):
        given_up.complete(requests(1))


def test_the_key_of_the_servers_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert client_module.authorization() == {"Authorization": "Bearer secret"}
    monkeypatch.delenv("VLLM_API_KEY")
    assert client_module.authorization() == {}
