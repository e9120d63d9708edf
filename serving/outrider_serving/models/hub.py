"""A model on a Hugging Face hub.

The hub's library lists the files and knows its settings (HF_ENDPOINT, HF_TOKEN, proxies). It does not read them,
since it starts a file anew when its process was killed.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
from huggingface_hub import HfApi, get_session, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from outrider_serving.models.digest import Digest, Kind
from outrider_serving.models.download import Interrupted, RemoteFile, is_model_file
from outrider_serving.models.fetch import FetchError

TIMEOUT_S = 30.0
TOKEN = "HF_TOKEN (in a cluster: a key of the Secret that model.secretRef names)"


class Hub:
    """The model `name`, org/name, as it is at `revision`: a branch, tag or commit; None: the main branch."""

    def __init__(self, name: str, revision: str | None) -> None:
        self._name = name
        self._revision = revision

    def files(self) -> list[RemoteFile]:
        try:
            api = HfApi()
            info = api.model_info(self._name, revision=self._revision, files_metadata=True, timeout=TIMEOUT_S)
        except OfflineModeIsEnabled:
            raise FetchError("HF_HUB_OFFLINE is set; unset it to fetch from a hub") from None
        except GatedRepoError:
            raise FetchError(f"gated; accept its terms on the hub and give a token that may read it: {TOKEN}") from None
        except RevisionNotFoundError:
            raise FetchError(f"no revision {self._revision}; check model.revision") from None
        except RepositoryNotFoundError:
            reason = "not on the hub, or private"
            raise FetchError(f"{reason}; check the name, or give a token that may read it: {TOKEN}") from None
        except HFValidationError:
            raise FetchError("not of the form hf://org/name; give revisions by --revision") from None
        except (ValueError, KeyError, TypeError):
            raise FetchError("what answers is no hub; check HF_ENDPOINT") from None
        except HfHubHTTPError as error:
            raise FetchError(_refusal(error.response.status_code)) from None
        except httpx2.RequestError as error:
            reason = f"the hub cannot be reached ({type(error).__name__})"
            raise FetchError(f"{reason}; check HF_ENDPOINT and the network") from None
        return [self._file(sibling, info.sha) for sibling in info.siblings or [] if is_model_file(sibling.rfilename)]

    def _file(self, sibling: RepoSibling, commit: str | None) -> RemoteFile:
        if sibling.size is None or sibling.blob_id is None or commit is None:
            raise FetchError("the hub tells no sizes of its files; check HF_ENDPOINT")
        return RemoteFile(
            name=sibling.rfilename,
            # By commit: a branch may move on before the last file is there.
            address=hf_hub_url(self._name, sibling.rfilename, revision=commit),
            size_bytes=sibling.size,
            version=sibling.blob_id,
            digest=Digest(Kind.SHA256, sibling.lfs.sha256) if sibling.lfs else Digest(Kind.GIT, sibling.blob_id),
        )

    def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start_bytes}-"}
        token = get_token()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            # A hub leads to other hosts; the client does not send the token there.
            with get_session().stream(
                "GET", file.address, headers=headers, follow_redirects=True, timeout=TIMEOUT_S
            ) as response:
                if response.status_code == 429 or response.status_code >= 500:
                    raise Interrupted(f"HTTP {response.status_code}")
                if response.status_code not in (200, 206):
                    raise FetchError(f"{file.name}: {_refusal(response.status_code)}")
                # 200: this host knows no ranges and begins at the first byte.
                skipped_bytes = start_bytes if response.status_code == 200 else 0
                for chunk in response.iter_raw():
                    rest = chunk[skipped_bytes:]
                    skipped_bytes -= len(chunk) - len(rest)
                    yield rest
        except httpx2.RequestError as error:
            raise Interrupted(type(error).__name__) from None


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"the hub refuses the token (HTTP {status}); check {TOKEN}"
    return f"the hub answers HTTP {status}; start again, or check HF_ENDPOINT"
