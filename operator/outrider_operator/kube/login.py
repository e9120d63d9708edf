"""Who the operator is to the API server: its ServiceAccount in a pod, else what KUBECONFIG names."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

# A ServiceAccount's token is rotated long before it ends, and read anew by our own calls every minute.
LOGIN_AGAIN_S = 300


class NoCluster(Exception):
    """There is no API server to speak with; the message is one line with the remedy."""


async def configuration(context: str | None = None) -> Configuration:
    """Raises NoCluster."""
    found = Configuration()
    try:
        if context is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=found)
        else:
            await load_kube_config(client_configuration=found, context=context)
    except (ConfigException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NoCluster(f"no cluster: {first}; run in a pod, or set KUBECONFIG to a file that names one") from None
    return found


def client(found: Configuration) -> ApiClient:
    # Ours are small objects and idempotent calls: the queue makes them again, with patience that grows.
    found.retries = None
    return ApiClient(found)


class Login:
    """Tells kopf what our own calls use, and again after a while."""

    def __init__(self, found: Configuration) -> None:
        self._found = found

    async def credentials(self, **_: Any) -> kopf.ConnectionInfo:
        token: str | None = await self._found.get_api_key_with_prefix("BearerToken")
        scheme, _space, value = (token or "").rpartition(" ")
        return kopf.ConnectionInfo(
            server=str(self._found.host),
            ca_path=self._found.ssl_ca_cert,
            insecure=not self._found.verify_ssl,
            certificate_path=self._found.cert_file,
            private_key_path=self._found.key_file,
            scheme=scheme or None,
            token=value or None,
            expiration=datetime.now(UTC) + timedelta(seconds=LOGIN_AGAIN_S),
        )
