"""`treatystance.models.chat` against a local server that plays an OpenAI-compatible endpoint."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from treatystance.corpus.load import data_path
from treatystance.errors import InputError, TreatystanceError
from treatystance.models.base import Batch, Floats
from treatystance.models.chat import GIVEN, ChatModel
from treatystance.models.chat_endpoint import DEFAULT_URL, Endpoint, RejectedError
from treatystance.statement import LabelSet

KEY = "sk-very-secret-0123456789"
LEAVE, STAY, PROTECT, NOTHING = (
    "We leave the pact.",
    "We stand by the pact.",
    "We protect the displaced.",
    "The hall is large.",
)
TAGS = {"leave": "intent_to_withdraw", "stand by": "reaffirmation", "protect": "humanitarian_commitment"}
Reply = Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]


def says(text: str | None, **choice: Any) -> Reply:
    """A completion of this text."""
    body = json.dumps({"choices": [{"message": {"content": text}, **choice}]}).encode()
    return lambda request: (200, {}, body)


def status(code: int, body: str = "", **headers: str) -> Reply:
    return lambda request: (code, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


def annotates(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """What a good annotator answers to the sentences of a request."""
    sentences = json.loads(request["messages"][1]["content"])
    tags = {str(s["number"]): [tag for word, tag in TAGS.items() if word in s["sentence"]] for s in sentences}
    return says(json.dumps(tags))(request)


@dataclass
class Server:
    """Gives the replies of `script` in turn, then annotates; keeps what it was sent."""

    url: str = ""
    script: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with found.lock:
                found.requests.append(request)
                found.headers.append(dict(self.headers))
                found.paths.append(self.path)
                reply = found.script.pop(0) if found.script else annotates
            code, headers, body = reply(request)
            try:
                self.send_response(code)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client did not wait
                pass

        def log_message(self, *arguments: Any) -> None:
            pass

    # A proxy that is not there: this machine's own server must be reached without it.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield found
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def endpoint(server: Server) -> Endpoint:
    return Endpoint(server.url, KEY, timeout=60, attempts=3, pause=0.01)


@pytest.fixture
def model(endpoint: Endpoint) -> ChatModel:
    return ChatModel(LabelSet(), "some-model", endpoint)


def batch_of(*texts: str) -> Batch:
    return Batch(texts, [None] * len(texts), [None] * len(texts))


def given(logits: Floats) -> list[list[int]]:
    """1 where a tag is given, 0 where it is not; nothing else can be told."""
    p = 1 / (1 + np.exp(-logits))
    assert np.allclose(np.abs(p - 0.5), GIVEN - 0.5)
    tags: list[list[int]] = (p > 0.5).astype(int).tolist()
    return tags


def test_a_tag_is_given_or_not(model: ChatModel) -> None:
    both = "We leave the pact and protect the displaced."
    assert given(model.logits(batch_of(LEAVE, NOTHING, PROTECT, STAY, both))) == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 1],
    ]


def test_nothing_is_asked_about_nothing(model: ChatModel, server: Server) -> None:
    assert model.logits(batch_of()).shape == (0, 3)
    assert not server.requests


def test_the_request(model: ChatModel, server: Server) -> None:
    batch = Batch([LEAVE, STAY, "A half: \ud800"], [None, LEAVE, None], ["POL", "*", None])
    model.logits(batch)
    (request,) = server.requests
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert request["model"] == "some-model"
    assert request["temperature"] == 0
    assert request["response_format"] == {"type": "json_object"}
    system, user = request["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"].startswith(data_path("package:codebook.md").read_text("utf-8"))
    assert json.loads(user["content"]) == [
        {"number": 1, "government": "Poland", "sentence": LEAVE},
        {"number": 2, "government": "news report", "previous": LEAVE, "sentence": STAY},
        {"number": 3, "sentence": "A half: ?"},
    ]


def test_many_sentences_are_asked_in_groups_and_come_back_in_order(model: ChatModel, server: Server) -> None:
    def slow(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.1)
        return annotates(request)

    server.script = [slow]
    kinds = [LEAVE, STAY, PROTECT, NOTHING]
    rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    places = np.random.default_rng(3).integers(0, 4, 93)
    assert given(model.logits(batch_of(*(kinds[k] for k in places)))) == [rows[k] for k in places]
    sizes = sorted(len(json.loads(request["messages"][1]["content"])) for request in server.requests)
    assert sizes == [13, 20, 20, 20, 20]


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"1": ["reaffirmation"]}\n```',
        '<think>{"1": ["humanitarian_commitment"]} or not?</think>\n{"1": ["reaffirmation"]}',
        'Here it is: {"1": ["reaffirmation", "reaffirmation"]}.',
    ],
)
def test_wrapped_answers_are_read(model: ChatModel, server: Server, text: str) -> None:
    server.script = [says(text)]
    assert given(model.logits(batch_of(STAY))) == [[0, 1, 0]]
    assert len(server.requests) == 1


FAULTY = {
    "not JSON": (says("I think that it is a reaffirmation."), "not a JSON object"),
    "broken JSON": (says('{"1": ["reaffirmation"], "2": ['), "not a JSON object"),
    "a list": (says('[["reaffirmation"], []]'), "not a JSON object"),
    "a missing number": (says('{"1": ["reaffirmation"]}'), "lacks sentence 2 of 2"),
    "a number too many": (says('{"1": [], "2": [], "3": []}'), "'3', which is no sentence's number"),
    "a number twice": (says('{"1": [], "2": [], "1": ["reaffirmation"]}'), "each number once"),
    "an unknown tag": (says('{"1": ["withdrawal"], "2": []}'), "sentence 1 has the unknown tag 'withdrawal'"),
    "a tag that is no text": (says('{"1": [{"tag": 1}], "2": []}'), "sentence 1 has the unknown tag"),
    "no list": (says('{"1": "reaffirmation", "2": []}'), "sentence 1 has 'reaffirmation' for a list of tags"),
    "null": (says('{"1": [], "2": null}'), "sentence 2 has None for a list of tags"),
    "no content": (says(None), "it is empty"),
    "cut off": (says('{"1": [], "2": []}', finish_reason="length"), "cut off"),
    "no completion": (status(200, "<html>Welcome</html>"), "not a chat completion"),
    "no choice": (status(200, '{"choices": []}'), "not a chat completion"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_answer_is_asked_again_once(model: ChatModel, server: Server, case: str) -> None:
    reply, fault = FAULTY[case]
    server.script = [reply]
    assert given(model.logits(batch_of(STAY, NOTHING))) == [[0, 1, 0], [0, 0, 0]]
    first, second = (request["messages"] for request in server.requests)
    assert second[:2] == first
    assert fault in second[-1]["content"]


@pytest.mark.parametrize("case", FAULTY)
def test_two_faulty_answers_are_an_error(model: ChatModel, server: Server, case: str) -> None:
    reply, fault = FAULTY[case]
    server.script = [reply, reply]
    with pytest.raises(TreatystanceError) as caught:
        model.logits(batch_of(STAY, NOTHING))
    message = str(caught.value)
    assert fault in message
    assert server.url in message
    assert "some-model" in message
    assert "sentences 1 to 2" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_busy_endpoint_is_asked_again(model: ChatModel, server: Server, code: int) -> None:
    server.script = [status(code), status(code)]
    assert given(model.logits(batch_of(STAY))) == [[0, 1, 0]]
    assert len(server.requests) == 3


def test_a_busy_endpoint_is_given_up_at_last(model: ChatModel, server: Server) -> None:
    server.script = [status(429, '{"error": {"message": "slow\\u001b[31m\\ndown"}}')] * 3
    with pytest.raises(TreatystanceError) as caught:
        model.logits(batch_of(STAY))
    assert str(caught.value) == f"{server.url}: answers HTTP 429 (slow[31m down), 3 times"
    assert len(server.requests) == 3


@pytest.mark.parametrize("form", ["seconds", "date", "date gone by"])
def test_retry_after_is_honoured(endpoint: Endpoint, server: Server, form: str) -> None:
    offset = {"date": 2, "date gone by": -30}.get(form, 0)  # dates have whole seconds
    value = "0.4" if form == "seconds" else formatdate(time.time() + offset, usegmt=True)
    server.script = [status(429, Retry_After=value)]
    started = time.monotonic()
    # The pause of our own would be far longer.
    ChatModel(LabelSet(), "m", replace(endpoint, pause=600, longest_pause=600)).logits(batch_of(STAY))
    waited = time.monotonic() - started
    assert (0.4 if form == "seconds" else 0.9 if form == "date" else 0) <= waited < 300


def test_an_endpoint_that_asks_for_an_hour_is_given_up(model: ChatModel, server: Server) -> None:
    server.script = [status(429, Retry_After="3600")]
    with pytest.raises(TreatystanceError, match="asks to wait 3600 seconds"):
        model.logits(batch_of(STAY))


def test_pauses_double(server: Server, endpoint: Endpoint) -> None:
    server.script = [status(503)] * 3
    started = time.monotonic()
    ChatModel(LabelSet(), "m", replace(endpoint, attempts=4, pause=0.1)).logits(batch_of(STAY))
    assert time.monotonic() - started >= 0.1 + 0.2 + 0.4


def test_an_error_does_not_wait_for_other_groups_to_pause(server: Server, endpoint: Endpoint) -> None:
    def by_group(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return (status(503) if LEAVE in request["messages"][1]["content"] else status(404))(request)

    server.script = [by_group] * 9
    started = time.monotonic()
    with pytest.raises(RejectedError, match="HTTP 404"):
        ChatModel(LabelSet(), "m", replace(endpoint, pause=600, longest_pause=600)).logits(
            batch_of(*[STAY] * 20, *[LEAVE] * 20)
        )
    assert time.monotonic() - started < 300


def test_an_endpoint_that_is_out_of_credit_is_not_asked_again(model: ChatModel, server: Server) -> None:
    server.script = [status(429, '{"error": {"message": "You have no credit.", "code": "insufficient_quota"}}')]
    with pytest.raises(TreatystanceError, match="You have no credit"):
        model.logits(batch_of(STAY))
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("key", [KEY, None])
def test_a_refused_key_is_told_in_one_line_without_the_key(
    server: Server, endpoint: Endpoint, code: int, key: str | None
) -> None:
    server.script = [status(code, json.dumps({"error": {"message": f"bad key {KEY}"}}))]
    with pytest.raises(TreatystanceError) as caught:
        ChatModel(LabelSet(), "m", replace(endpoint, key=key)).logits(batch_of(STAY))
    assert f"HTTP {code}" in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1
    assert ("Authorization" in server.headers[0]) == (key is not None)


def test_a_refusal_says_what_the_endpoint_said_but_never_the_key(model: ChatModel, server: Server) -> None:
    server.script = [status(404, json.dumps({"error": {"message": f"no model some-model\nfor {KEY}"}}))]
    with pytest.raises(TreatystanceError) as caught:
        model.logits(batch_of(STAY))
    assert str(caught.value) == f"{server.url}: answers HTTP 404 (no model some-model for ***)"


def test_settings_that_the_endpoint_refuses_are_left_out(model: ChatModel, server: Server) -> None:
    body = '{"error": {"message": "Unsupported value", "param": "temperature"}}'
    server.script = [status(400, body), status(422, '{"detail": "response_format: not known"}')]
    assert given(model.logits(batch_of(STAY))) == [[0, 1, 0]]
    sent = [{"temperature", "response_format"} & set(request) for request in server.requests]
    assert sent == [{"temperature", "response_format"}, {"response_format"}, set()]
    assert "temperature" not in model.describe()


def test_no_redirect_is_followed(model: ChatModel, server: Server) -> None:
    for code in (301, 302, 307, 308):
        server.script = [status(code, Location=f"{server.url}/elsewhere")]
        with pytest.raises(TreatystanceError, match=f"redirects elsewhere \\(HTTP {code}\\)"):
            model.logits(batch_of(STAY))
    assert set(server.paths) == {"/v1/chat/completions"}


def test_silence_is_asked_again_and_then_given_up(endpoint: Endpoint, server: Server) -> None:
    done = threading.Event()

    def silent(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        done.wait(60)
        return annotates(request)

    quick = ChatModel(LabelSet(), "m", replace(endpoint, timeout=0.7, attempts=2))
    try:
        server.script = [silent]
        assert given(quick.logits(batch_of(STAY))) == [[0, 1, 0]]
        server.script = [silent, silent]
        with pytest.raises(TreatystanceError) as caught:
            quick.logits(batch_of(STAY))
    finally:
        done.set()
    assert str(caught.value) == f"{server.url}: gave no answer in 0.7 seconds, 2 times"


def test_an_answer_that_breaks_off_is_asked_again(model: ChatModel, server: Server) -> None:
    server.script = [lambda request: (200, {"Content-Length": "500"}, b'{"choices"')]
    assert given(model.logits(batch_of(STAY))) == [[0, 1, 0]]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("url", "reason"), [("http://127.0.0.1:9/v1", "refused"), ("http://no-such-host.invalid/v1", "")]
)
def test_an_endpoint_out_of_reach(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(TreatystanceError) as caught:
        ChatModel(LabelSet(), "m", Endpoint(url, attempts=1)).logits(batch_of(STAY))
    assert str(caught.value).startswith(f"{url}: cannot be reached (")
    assert reason in str(caught.value)
    assert caught.value.exit_code == 1


def test_the_environment_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    endpoint = Endpoint.from_environment()
    assert (endpoint.url, endpoint.key) == (DEFAULT_URL, KEY)
    assert KEY not in repr(endpoint)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="set OPENAI_API_KEY"):
        Endpoint.from_environment()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1/")
    assert Endpoint.from_environment().key is None


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.8.0.1/v1", "http://[::1]:80/v1", DEFAULT_URL])
def test_a_key_is_sent_over_https_or_to_this_machine(url: str) -> None:
    assert Endpoint(url, KEY).key == KEY


@pytest.mark.parametrize("url", ["http://192.168.0.9:8000/v1", "http://localhost.example.org/v1", "http://[fe80::1]/"])
def test_a_key_is_not_sent_in_the_clear(url: str) -> None:
    assert Endpoint(url).key is None
    with pytest.raises(InputError, match="https") as caught:
        Endpoint(url, KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "file:///etc/passwd",
        "ftp://example.org",
        "https://",
        "https://example.org:port/v1",
        "https://me:geheim@example.org/v1",
        "https://example.org/v1?key=geheim",
        "https://example.org/v 1",
        "https://example.org/\r\nX: 1",
        "https://[::1/v1",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InputError, match="OPENAI_BASE_URL") as caught:
        Endpoint(url, KEY)
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_keys_that_cannot_be_used_are_not_shown(key: str) -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
        Endpoint(DEFAULT_URL, key)
    assert key not in str(caught.value)


def test_other_labels_need_another_codebook(endpoint: Endpoint, server: Server) -> None:
    labels = LabelSet(("peace", "trade"), exclusive=True)
    with pytest.raises(InputError, match="'peace'"):
        ChatModel(labels, "m", endpoint)
    model = ChatModel(labels, "m", endpoint, codebook="Peace or trade.")
    # One label each, where labels exclude one another.
    server.script = [says('{"1": ["trade", "peace"]}'), says('{"1": ["trade"]}')]
    assert given(model.logits(batch_of("Tariffs fall."))) == [[0, 1]]
    assert server.requests[0]["messages"][0]["content"].startswith("Peace or trade.")


def test_it_is_not_saved_and_tells_of_itself_without_the_key(model: ChatModel, server: Server) -> None:
    with pytest.raises(TreatystanceError, match="chat:MODEL"):
        model.files()
    told = model.describe()
    assert told["model"] == "some-model"
    assert told["endpoint"] == server.url
    assert KEY not in repr(told)
