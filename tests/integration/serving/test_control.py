"""Both commands as a pod starts them, and the ConfigMap by which the target is told off and on."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from support.certificates import mount
from support.ports import free_port
from support.run import running
from support.tiny import tiny_llama_dir
from support.waiting import eventually

ASKED = {"model": "tiny", "prompt": "the theatre", "max_tokens": 40, "temperature": 0}


def figures(http: httpx.Client) -> dict[str, float]:
    """What /metrics says, summed over labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for sample in family.samples:
            name = sample.name.removeprefix("outrider_")
            found[name] = found.get(name, 0.0) + sample.value
    return found


def test_a_target_is_told_off_and_on_without_a_restart(tmp_path: Path) -> None:
    model = f"file://{tiny_llama_dir(tmp_path / 'model')}"
    folder = mount(tmp_path / "control", {"speculation": b"off"})
    draft_port, draft_http, port = free_port(), free_port(), free_port()
    common = [f"--model={model}", "--host=127.0.0.1", "--max-model-len=128"]
    of_target = [
        *("--served-model-name=tiny", f"--port={port}", f"--draft=127.0.0.1:{draft_port}", f"--control={folder}"),
        *("--mode=Always", "--draft-patience-ms=5000", "--min-probability=0", "--max-num-seqs=3"),
    ]
    with (
        running("draft", tmp_path / "draft.log", *common, f"--port={draft_port}", f"--http-port={draft_http}"),
        running("target", tmp_path / "target.log", *common, *of_target) as target,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
        httpx.Client(base_url=f"http://127.0.0.1:{draft_http}", trust_env=False) as of_draft,
    ):

        def connected() -> bool:
            assert target.poll() is None, (tmp_path / "target.log").read_text()
            try:
                return figures(http)["draft_connected"] == 1
            except httpx.TransportError:
                return False

        eventually("a draft that is connected", connected)
        assert figures(http)["speculation_allowed"] == 0
        assert http.get("/health").json()["speculation"]["allowed"] is False
        warmed_up = figures(http)["step_time_seconds"]
        without = http.post("/v1/completions", json=ASKED).json()["choices"]
        assert figures(http)["draft_asked_total"] == 0
        assert figures(http)["step_time_seconds"] != warmed_up, "it is what the engine has learnt since"
        assert figures(http)["spec_decode_num_drafts_total"] > 0, "n-grams go on"

        mount(folder, {"speculation": b"on"})
        eventually("a target that may", lambda: figures(http)["speculation_allowed"] == 1)
        assert http.post("/v1/completions", json=ASKED).json()["choices"] == without
        found = figures(http)
        assert found["draft_tree_hits_total"] > 0
        assert (found["max_num_seqs"], found["requests_arrived_total"]) == (3, 2)
        assert found["step_time_seconds"] > 0
        assert found["draft_goodput_gain"] > 0

        assert figures(of_draft)["draft_level_seconds"] > 0
        assert figures(of_draft)["draft_level_sequence_seconds"] >= 0
        mount(folder, {"speculation": b"off"})
        eventually("a target that may not", lambda: figures(http)["speculation_allowed"] == 0)
        asked = figures(http)["draft_asked_total"]
        assert http.post("/v1/completions", json=ASKED).json()["choices"] == without
        assert figures(http)["draft_asked_total"] == asked
