"""The dashboard and `outrider top` show the same numbers: both are asked of the same readings of the same pods."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pytest
from outrider_operator.measure.figures import DraftFigures, TargetFigures, draft_figures, target_figures
from outrider_operator.measure.growth import Ends
from outrider_serving.metrics import DraftMetrics
from prometheus.binaries import Binaries
from prometheus.server import Prometheus
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.promql import CHART, DASHBOARDS, chosen, queries
from support.readings import Target, read

MODELS = CHART / "dashboards" / "models.json"
NOW = "Now"
# The panels' names of what a draft's figures are called.
OF_DRAFTS = {"sequences": "sequences", "draft_tokens_per_s": "tokens_per_s", "hit_rate": "hit_rate"}

INTERVAL_S = 15
WINDOW = "2m"
READINGS = 40
# Older than what Prometheus keeps open for what comes in.
AGO_S = 24 * 3600


@dataclass(frozen=True)
class Pod:
    """before, after: two pages INTERVAL_S apart. It goes on like that."""

    job: str
    name: str
    before: str
    after: str
    ends: Ends


def _text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def target(job: str, name: str, tokens: int, latency_s: float, running: int) -> Pod:
    """One that makes so many tokens between two readings, each after so long."""
    pod = Target()

    def work() -> None:
        pod.step(
            decoded_sequences=tokens // 3,
            decoded_tokens=tokens,
            first_tokens=5,
            draft_tokens=tokens,
            accepted_per_position=[tokens // 2, tokens // 10],
            draft_wait_s=1.0,
            forward_s=6.0 + latency_s,
            verify_s=2.0,
            host_s=1.0,
        )
        for _ in range(tokens):
            pod.metrics.tokens(1, latency_s)
        for _ in range(5):
            pod.metrics.first_token(latency_s * 10)
        pod.metrics.set_load(running=running, waiting=1, kv_usage=latency_s)

    work()
    before, start = _text(pod.registry), pod.read(0.0)
    work()
    return Pod(job, name, before, _text(pod.registry), (start, pod.read(float(INTERVAL_S))))


def draft(job: str, name: str, commits: int) -> Pod:
    registry = CollectorRegistry()
    metrics = DraftMetrics(registry, "qwen-coder")

    def work() -> None:
        metrics.record(sequences=3, tokens=commits * 8, forward_s=1.0)
        metrics.committed(commits=commits, hits=commits * 3 // 4, unlisted=0)

    work()
    before, start = _text(registry), read(registry, 0.0)
    work()
    return Pod(job, name, before, _text(registry), (start, read(registry, float(INTERVAL_S))))


TARGETS = (
    target("chat/qwen-coder-target", "qwen-coder-target-a", tokens=90, latency_s=0.8, running=4),
    target("chat/qwen-coder-target", "qwen-coder-target-b", tokens=600, latency_s=0.045, running=7),
)
DRAFTS = (draft("chat/qwen-coder-draft", "qwen-coder-draft-a", commits=40),)
# Of the same name, and not asked for.
ANOTHERS = (
    target("search/qwen-coder-target", "qwen-coder-target-a", tokens=33, latency_s=2.0, running=1),
    draft("search/qwen-coder-draft", "qwen-coder-draft-a", commits=10),
)


def _samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def openmetrics(pods: Sequence[Pod], first_s: int) -> str:
    """What a Prometheus would have read of them, every INTERVAL_S: counters grow by the same each time."""
    lines = []
    for pod in pods:
        before, after = _samples(pod.before), _samples(pod.after)
        for (name, labels), value in after.items():
            counts = name.endswith(("_total", "_bucket", "_count", "_sum"))
            then = before.get((name, labels), 0.0)
            place = (("job", pod.job), ("namespace", pod.job.partition("/")[0]), ("pod", pod.name))
            told = ",".join(f'{label}="{text}"' for label, text in (*labels, *place))
            for index in range(READINGS):
                now = then + index * (value - then) if counts else value
                lines.append(f"{name}{{{told}}} {now!r} {first_s + index * INTERVAL_S}")
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def read_by_prometheus(
    binaries: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, float]]:
    """It, and when it read last, in seconds of the epoch."""
    folder = tmp_path_factory.mktemp("prometheus")
    first_s = int(time.time()) - AGO_S
    (folder / "data").mkdir()
    file = folder / "readings.om"
    file.write_text(openmetrics([*TARGETS, *DRAFTS, *ANOTHERS], first_s), encoding="utf-8")
    _import(binaries.promtool, file, folder / "data")
    with Prometheus(binaries.prometheus, folder) as running:
        yield running, float(first_s + (READINGS - 1) * INTERVAL_S)


def _import(promtool: Path, file: Path, into: Path) -> None:
    command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", str(file), str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def asked(prometheus: Prometheus, at_s: float, expression: str) -> dict[str, float]:
    """The one series that the dashboard shows of this model, by its job."""
    sent = chosen(expression, WINDOW, namespace="chat", model="qwen-coder")
    return {sample.labels["job"]: sample.value for sample in prometheus.ask(sent, at_s)}


def test_the_dashboards_table_has_the_columns_of_top() -> None:
    names = [query.name for query in queries(MODELS) if query.panel == NOW]
    assert names == [field.name for field in fields(TargetFigures)]


def test_every_column_is_a_panel_over_time_by_the_same_expression() -> None:
    columns = {query.name: query.expression for query in queries(MODELS) if query.kind == "table"}
    over_time = {query.name: query.expression for query in queries(MODELS) if query.kind == "timeseries"}
    assert columns.items() <= over_time.items()
    assert OF_DRAFTS.keys() <= over_time.keys()
    assert {*OF_DRAFTS.values()} == {field.name for field in fields(DraftFigures)}


@pytest.mark.parametrize("figure", [field.name for field in fields(TargetFigures)])
def test_a_models_figure_is_tops(read_by_prometheus: tuple[Prometheus, float], figure: str) -> None:
    [expression] = [query.expression for query in queries(MODELS) if (query.panel, query.name) == (NOW, figure)]
    of_top = asdict(target_figures([pod.ends for pod in TARGETS]))[figure]
    assert of_top
    assert asked(*read_by_prometheus, expression) == {"chat/qwen-coder-target": pytest.approx(of_top)}


@pytest.mark.parametrize("panel", OF_DRAFTS)
def test_a_drafts_figure_is_tops(read_by_prometheus: tuple[Prometheus, float], panel: str) -> None:
    [expression] = [query.expression for query in queries(MODELS) if query.name == panel]
    of_top = asdict(draft_figures([pod.ends for pod in DRAFTS]))[OF_DRAFTS[panel]]
    assert of_top
    assert asked(*read_by_prometheus, expression) == {"chat/qwen-coder-draft": pytest.approx(of_top)}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_prometheus_takes_every_query(read_by_prometheus: tuple[Prometheus, float], file: Path) -> None:
    prometheus, at_s = read_by_prometheus
    for query in queries(file):
        prometheus.ask(chosen(query.expression, WINDOW, namespace=".+", model=".+"), at_s)
