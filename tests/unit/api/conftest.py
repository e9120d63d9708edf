from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from unit.api.scripted import ENDING, WAIT_S, Served, face, serving, tiny_tokenizer


@pytest.fixture(scope="session", autouse=True)
def every_server_ends() -> Iterator[None]:
    yield
    for thread in ENDING:
        thread.join(WAIT_S)
    assert not [thread.name for thread in ENDING if thread.is_alive()], "servers that did not stop"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(face(tiny_tokenizer())) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key", max_retries=0) as client:
        yield client


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30) as http:
        yield http
