"""The field of the resource behind a flag of the commands: people wrote the one, errors name the other."""

import re

ROLE_FIELDS = {
    "--model": "model.uri",
    "--revision": "model.revision",
    "--dtype": "dtype",
    "--max-model-len": "maxModelLen",
    "--max-num-seqs": "maxNumSeqs",
    "--quantization": "quantization",
    "--kv-cache-memory": "kvCache.memory",
    "--kv-cache-fraction": "kvCache.fraction",
}
TARGET_FIELDS = {
    "--port": "spec.endpoint.port",
    "--served-model-name": "metadata.name",
    "--max-queue": "spec.target.maxQueue",
    "--max-batched-tokens": "spec.target.maxBatchedTokens",
    "--tensor-parallel-size": "spec.target.tensorParallelSize",
    "--mode": "spec.speculation.mode",
    "--max-depth": "spec.speculation.maxDepth",
    "--max-branches": "spec.speculation.maxBranches",
    "--max-nodes": "spec.speculation.maxNodes",
    "--min-probability": "spec.speculation.minProbability",
    "--tolerance": "spec.speculation.tolerance",
    "--draft-patience-ms": "spec.speculation.draftPatience",
    "--fallback": "spec.speculation.fallback",
}


def with_field(role: str, reason: str) -> str:
    """The error of a role's command, with the field named before the flag where it is about one."""
    match = re.match(r"--[a-z-]+(?=: )", reason)
    flag = match[0] if match else ""
    if flag in ROLE_FIELDS:
        return f"spec.{role}.{ROLE_FIELDS[flag]} ({flag}){reason[len(flag) :]}"
    if role == "target" and flag in TARGET_FIELDS:
        return f"{TARGET_FIELDS[flag]} ({flag}){reason[len(flag) :]}"
    return reason
