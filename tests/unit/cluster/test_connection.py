"""Where the commands find the cluster."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from outrider_operator.cluster.connection import Place, Unusable, connected
from support.fake_api import FakeApi


async def test_a_kubeconfig_may_come_through_a_pipe(tmp_path: Path) -> None:
    with FakeApi() as api:
        reading, writing = os.pipe()
        try:
            os.write(writing, api.kubeconfig(tmp_path / "config").read_bytes())
            os.close(writing)
            async with connected(Place(kubeconfig=Path(f"/dev/fd/{reading}"))) as connection:
                assert connection.namespace == "chat"
        finally:
            os.close(reading)


@pytest.mark.parametrize("file", ["missing", "."])
async def test_a_kubeconfig_that_is_not_there_or_is_a_folder_is_one_line(file: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"^--kubeconfig: .*: no such file; name one"):
        async with connected(Place(kubeconfig=tmp_path / file)):
            pass


async def test_a_user_without_a_home_has_no_kubeconfig_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> None:
        raise KeyError("no such user")

    for name in ("HOME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(Unusable, match=r"^no cluster: ~/\.kube/config is not there; name a kubeconfig"):
        async with connected(Place()):
            pass
