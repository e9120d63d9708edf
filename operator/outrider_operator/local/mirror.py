"""Where models are looked up before the hub."""

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_dir

from outrider_operator.local.errors import LocalError


def model_mirror(flag: str | None, user_env: Mapping[str, str]) -> str | None:
    """The flag, else OUTRIDER_MODEL_MIRROR, else what `outrider-models prepare` has filled, if there is any.

    Raises LocalError when a folder that was named is not there.
    """
    for source, named in (
        ("--model-mirror", flag),
        ("OUTRIDER_MODEL_MIRROR", user_env.get("OUTRIDER_MODEL_MIRROR")),
    ):
        if named:
            return _named_mirror(source, named)
    try:
        root = user_env.get("OUTRIDER_CACHE") or user_cache_dir("outrider")
    except RuntimeError:  # a user without a home, as in some containers: nothing can have been prepared
        return None
    prepared = Path(os.path.expanduser(root)).absolute() / "models"  # noqa: PTH111 - Path's raises without a home
    return str(prepared) if prepared.is_dir() else None


def _named_mirror(source: str, named: str) -> str:
    if named.startswith(("http://", "https://")):
        return named
    folder = Path(os.path.expanduser(named)).absolute()  # noqa: PTH111 - as above
    if not folder.is_dir():
        raise LocalError(f"{source}: {named} is no folder; name one laid out as org/name, or an http(s) URL")
    return str(folder)
