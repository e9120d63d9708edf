"""Runs in a pod, with the standard library alone: asks a model for streamed answers, and says how each one went.

usage: chat_client.py URL
First line of its input, JSON: `requests`, bodies of chat completions; `at_once`, how many are in flight; `endless`,
whether they are asked over and over until the input ends or has another line. Lines of its output, JSON, with the index
of the request: `begun` with the first text, then `answer` or `failure`.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

TIMEOUT_S = 300

printing = threading.Lock()
ended = threading.Event()


def say(**line: Any) -> None:
    with printing:
        print(json.dumps(line), flush=True)


def chunks(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream. Raises RuntimeError for one that reports an error."""
    for line in response:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        chunk: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        if "error" in chunk:
            raise RuntimeError(f"an error in the stream: {chunk['error']}")
        yield chunk


def ask(url: str, index: int, asked: dict[str, Any]) -> dict[str, Any]:
    """One answer, over a connection of its own, so that each may go to another pod."""
    address = urllib.parse.urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_S)
    body = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    text, reason, usage = "", None, None
    try:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {response.read(500)!r}")
        for chunk in chunks(response):
            for choice in chunk["choices"]:
                more = choice["delta"].get("content") or ""
                if more and not text:
                    say(begun=index)
                text += more
                reason = choice.get("finish_reason") or reason
            usage = chunk.get("usage") or usage
    finally:
        connection.close()
    if usage is None:
        raise RuntimeError(f"the stream broke off after {text!r}")
    return {
        "text": text,
        "finish_reason": reason,
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }


def work(url: str, requests: list[dict[str, Any]], numbers: Iterator[int]) -> None:
    while not ended.is_set():
        with printing:
            number = next(numbers, None)
        if number is None:
            return
        index = number % len(requests)
        try:
            say(index=index, answer=ask(url, index, requests[index]))
        except Exception as error:  # whatever it is, a client has seen it
            say(index=index, failure=repr(error))


def main() -> None:
    told = json.loads(sys.stdin.readline())
    requests = told["requests"]
    numbers = itertools.count() if told["endless"] else iter(range(len(requests)))
    places = [threading.Thread(target=work, args=(sys.argv[1], requests, numbers)) for _ in range(told["at_once"])]
    for place in places:
        place.start()
    if told["endless"]:
        sys.stdin.readline()
        ended.set()
    for place in places:
        place.join()


if __name__ == "__main__":
    main()
