"""What --draft may name."""

from __future__ import annotations

import pytest
from outrider_serving.target.names import host_and_port, resolve


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("draft:50051", ("draft", 50051)),
        ("dns:///draft.ns.svc:50051", ("draft.ns.svc", 50051)),
        ("[::1]:9", ("::1", 9)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
    ],
)
def test_a_name_is_a_host_and_a_port(name: str, parts: tuple[str, int]) -> None:
    assert host_and_port(name) == parts


@pytest.mark.parametrize("name", ["draft", "draft:", ":50051", "draft:port", "dns:///draft"])
def test_anything_else_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(ValueError, match="give HOST:PORT"):
        host_and_port(name)


async def test_an_address_leads_to_itself_and_localhost_to_one_draft() -> None:
    assert await resolve("127.0.0.1:50051") == ("127.0.0.1:50051",)
    assert await resolve("[::1]:50051") == ("[::1]:50051",)
    assert len(await resolve("localhost:50051")) == 1


async def test_a_name_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(OSError, match=r"."):
        await resolve("nowhere.invalid:50051")
