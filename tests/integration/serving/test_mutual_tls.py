"""Draft and target over mutual TLS: who cannot show who it is does not draft, and a new certificate stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from outrider_serving.protocol.channel import CLIENT_OPTIONS
from outrider_serving.protocol.identity import BadIdentity, Identity
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.target.draft_fleet import DraftFleet
from outrider_serving.target.drafters import DraftState
from outrider_serving.target.names import host_and_port
from outrider_serving.target.remote import RemoteDrafter
from support.certificates import NAME, authority, identity_files, mount
from support.inprocess import shape_of, target_step
from support.pair import VOCABULARY
from support.served import PAIR, POLICY, PROMPTS, draft_server, plain, run, until


@contextlib.asynccontextmanager
async def drafter_to(port: int, identity: Identity | None, name: str = NAME) -> AsyncIterator[RemoteDrafter]:
    drafter = RemoteDrafter(f"127.0.0.1:{port}", "same", VOCABULARY, shape_of(POLICY), identity=identity, name=name)
    connection = asyncio.create_task(drafter.run())
    try:
        yield drafter
    finally:
        connection.cancel()


def shown_by(port: int, trusted: Path, shows: Path) -> str:
    """The serial number of the certificate that a new connection to the draft is shown."""
    context = ssl.create_default_context(cafile=trusted / "ca.crt")
    context.load_cert_chain(shows / "tls.crt", shows / "tls.key")
    with (
        contextlib.closing(socket.create_connection(("127.0.0.1", port))) as plain_socket,
        context.wrap_socket(plain_socket, server_hostname=NAME) as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


async def test_both_with_a_certificate_of_one_authority_draft_as_without(tmp_path: Path) -> None:
    signing = authority()
    of_draft = Identity(mount(tmp_path / "draft", identity_files(signing)))
    of_target = Identity(mount(tmp_path / "target", identity_files(signing, name="chat-target.team.svc")))
    async with draft_server(identity=of_draft) as draft, drafter_to(draft.port, of_target) as drafter:
        await until(lambda: drafter.available)
        tokens, reports = await run(target_step(PAIR.target, POLICY, drafter))
    assert tokens == await plain()
    assert sum(report.tree_hits for report in reports) > 0


async def test_a_fleet_asks_each_pod_for_a_certificate_of_the_name_that_led_to_it(tmp_path: Path) -> None:
    signing = authority()
    identity = Identity(mount(tmp_path / "draft", identity_files(signing)))

    def connect(
        address: str, name: str, changed: threading.Condition, on_leaving: Callable[[], object]
    ) -> RemoteDrafter:
        host, _ = host_and_port(name)
        return RemoteDrafter(
            address,
            "same",
            VOCABULARY,
            shape_of(POLICY),
            changed,
            on_leaving,
            identity,
            host,
        )

    async with draft_server(identity=identity) as draft:

        async def resolve(_: str) -> tuple[str, ...]:
            return (draft.address,)

        for name, is_taken in ((f"dns:///{NAME}:{draft.port}", True), (f"another.team.svc:{draft.port}", False)):
            fleet = DraftFleet([name], connect, resolve)
            following = asyncio.create_task(fleet.run())
            await until(lambda: fleet.connected == 1 if is_taken else "another name" in fleet.status.reason)  # noqa: B023
            assert fleet.connected == is_taken
            following.cancel()


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("a target without", "UNAVAILABLE"),
        ("a target of another authority", "may not know the authority"),
        ("a draft of another authority", "not of an authority in ca.crt"),
        ("a draft without", "it speaks no TLS"),
        ("a draft of another name", "for another name than that of --draft"),
    ],
)
async def test_who_cannot_show_who_it_is_does_not_draft_and_the_target_serves_on(
    who: str, told: str, tmp_path: Path
) -> None:
    ours, another = authority(), authority()
    of_draft, of_target = identity_files(ours), identity_files(ours)
    if who == "a target of another authority":
        of_target = identity_files(another, trusted=[ours])
    if who == "a draft of another authority":
        of_draft = identity_files(another, trusted=[ours])
    if who == "a draft of another name":
        of_draft = identity_files(ours, name="other-draft.team.svc")
    draft_identity = None if who == "a draft without" else Identity(mount(tmp_path / "draft", of_draft))
    target_identity = None if who == "a target without" else Identity(mount(tmp_path / "target", of_target))
    async with draft_server(identity=draft_identity) as draft, drafter_to(draft.port, target_identity) as drafter:
        if who != "a target without":
            await until(lambda: told in drafter.status.reason)
        tokens, reports = await run(target_step(PAIR.target, POLICY, drafter))
        assert drafter.status.state is DraftState.CONNECTING
        assert "\n" not in drafter.status.reason
        assert draft.engine.opened == 0
    assert tokens == await plain()
    assert not any(report.asked for report in reports)


async def test_a_client_that_shows_no_certificate_is_turned_away(tmp_path: Path) -> None:
    signing = authority()
    async with draft_server(identity=Identity(mount(tmp_path / "draft", identity_files(signing)))) as draft:
        trusting = grpc.ssl_channel_credentials(signing.certificate)
        options = [*CLIENT_OPTIONS, ("grpc.default_authority", NAME)]
        async with grpc.aio.secure_channel(draft.address, trusting, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await rpc.DraftStub(channel).Describe(pb.DescribeRequest(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_certificates_and_their_authority_are_replaced_under_a_running_stream(tmp_path: Path) -> None:
    """As the operator does it: a new certificate; a new authority, first only known; then also signing; then alone."""
    old, new = authority(), authority()
    draft_folder, target_folder = tmp_path / "draft", tmp_path / "target"
    stages = [
        identity_files(old),
        identity_files(old, trusted=[new, old]),
        identity_files(new, trusted=[new, old]),
        identity_files(new),
    ]
    mount(draft_folder, identity_files(old))
    mount(target_folder, identity_files(old))
    of_draft, of_target = Identity(draft_folder), Identity(target_folder)
    shown: list[str] = []
    async with draft_server(identity=of_draft) as draft, drafter_to(draft.port, of_target) as drafter:
        await until(lambda: drafter.available)

        async def rotate() -> None:
            for files in stages:
                mount(draft_folder, files)
                # Kubelets do not bring a Secret to all pods at once: the target still has what it had.
                async with drafter_to(draft.port, of_target) as another:
                    await until(lambda: another.available)
                mount(target_folder, files)
                async with drafter_to(draft.port, of_target) as another:
                    await until(lambda: another.available)
                shown.append(await asyncio.to_thread(shown_by, draft.port, target_folder, target_folder))

        tokens, reports = await run(target_step(PAIR.target, POLICY, drafter), at=3, disturb=rotate)
        assert drafter._generation == 1, "it is the stream that it was"
        assert draft.engine.opened == len(PROMPTS)
        mount(tmp_path / "late", identity_files(old, trusted=[new, old]))
        async with drafter_to(draft.port, Identity(tmp_path / "late")) as late:
            await until(lambda: "may not know the authority" in late.status.reason)
    assert tokens == await plain()
    assert all(report.tree_hits == report.asked for report in reports[1:])
    assert len(set(shown)) == len(stages)


async def test_a_target_whose_files_are_gone_says_so_and_drafts_when_they_are_back(tmp_path: Path) -> None:
    files = identity_files(authority())
    folder = mount(tmp_path / "both", files)
    async with draft_server(identity=Identity(folder)) as draft:
        mount(folder, {name: files[name] for name in ("tls.crt", "tls.key")})
        async with drafter_to(draft.port, Identity(folder)) as drafter:
            await until(lambda: "ca.crt" in drafter.status.reason)
            assert "mount the Secret" in drafter.status.reason
            mount(folder, files)
            await until(lambda: drafter.available)


async def test_a_target_with_half_of_a_pair_says_so(tmp_path: Path) -> None:
    signing = authority()
    half = {**identity_files(signing), "tls.key": identity_files(signing)["tls.key"]}
    async with (
        draft_server(identity=Identity(mount(tmp_path / "draft", identity_files(signing)))) as draft,
        drafter_to(draft.port, Identity(mount(tmp_path / "target", half))) as drafter,
    ):
        await until(lambda: "do not belong together" in drafter.status.reason)


@pytest.mark.parametrize(("of_draft_days", "told"), [(-100, "its certificate has expired"), (0, "or that has expired")])
async def test_a_certificate_that_has_expired_is_none(of_draft_days: int, told: str, tmp_path: Path) -> None:
    signing = authority()
    of_target_days = -100 - of_draft_days
    of_draft = Identity(mount(tmp_path / "draft", identity_files(signing, made_days=of_draft_days)))
    of_target = Identity(mount(tmp_path / "target", identity_files(signing, made_days=of_target_days)))
    async with draft_server(identity=of_draft) as draft, drafter_to(draft.port, of_target) as drafter:
        await until(lambda: told in drafter.status.reason)


async def test_half_of_a_new_pair_is_not_taken_and_the_old_one_serves_on(tmp_path: Path) -> None:
    signing = authority()
    folder = mount(tmp_path / "draft", identity_files(signing))
    of_target = Identity(mount(tmp_path / "target", identity_files(signing)))
    async with draft_server(identity=Identity(folder)) as draft:
        mount(folder, {**identity_files(signing), "tls.key": identity_files(signing)["tls.key"]})
        async with drafter_to(draft.port, of_target) as drafter:
            await until(lambda: drafter.available)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ({"tls.crt": None}, "tls.crt: No such file"),
        ({"ca.crt": b"no PEM"}, "ca.crt: not PEM"),
        ({"tls.key": identity_files(authority())["tls.key"]}, "no pair"),
    ],
)
def test_a_folder_that_will_not_do_is_told_in_one_line_without_what_it_holds(
    spoil: dict[str, bytes | None], told: str, tmp_path: Path
) -> None:
    files = {**identity_files(authority()), **spoil}
    folder = mount(tmp_path / "draft", {name: value for name, value in files.items() if value is not None})
    with pytest.raises(BadIdentity) as refused:
        Identity(folder).check()
    assert told in str(refused.value)
    assert "mount the Secret" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "BEGIN" not in str(refused.value)
