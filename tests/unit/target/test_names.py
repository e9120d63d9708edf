"""What --draft may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from outrider_serving.target.names import certified_host, check_name, host_and_port, resolve


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


async def test_a_file_lists_drafts_and_may_list_none(tmp_path: Path) -> None:
    file = tmp_path / "drafts"
    file.write_text("127.0.0.1:50052\n127.0.0.1:50051\n")
    assert await resolve(f"file://{file}") == ("127.0.0.1:50051", "127.0.0.1:50052")
    file.write_text("")
    assert await resolve(f"file://{file}") == ()


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1", "\xff\x00"])
async def test_a_file_that_lists_what_is_no_draft_takes_none_away(tmp_path: Path, text: str) -> None:
    file = tmp_path / "drafts"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(OSError, match="give HOST:PORT"):
        await resolve(f"file://{file}")


async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await resolve(f"file://{tmp_path}/nothing")


def test_a_file_is_named_from_the_root() -> None:
    check_name("file:///run/drafts")
    with pytest.raises(ValueError, match="give file:///PATH"):
        check_name("file://drafts")


def test_a_draft_shows_who_it_is_for_the_name_that_led_to_it() -> None:
    assert certified_host("dns:///draft.ns.svc:50051", "10.0.0.7:50051") == "draft.ns.svc"
    assert certified_host("file:///run/drafts", "localhost:50051") == "localhost"
