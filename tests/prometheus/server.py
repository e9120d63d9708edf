"""A Prometheus of one test, on a free port of the loopback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import httpx
import yaml
from support.ports import free_port

START_S = 60
# A test does not wait for the 30 s of a cluster's.
INTERVAL_S = 1


class Sample(NamedTuple):
    """One of an answer's vector."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """scrapes: what it reads, as `scrape_configs` have it. rules: groups of rules, by the file's name. port: where it
    is to listen, for those who have to know before it is there. Data that is in the folder already is served too.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        scrapes: Sequence[Mapping[str, Any]] = (),
        rules: Mapping[str, Mapping[str, Any]] | None = None,
        port: int | None = None,
    ) -> None:
        self._program = program
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._config = {
            "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
            "rule_files": [str(folder / f"{name}.rules.yaml") for name in rules or {}],
            "scrape_configs": [dict(scrape) for scrape in scrapes],
        }
        self._rules = rules or {}
        self._port = port or free_port()
        self._log = folder / "prometheus.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Prometheus:
        for name, groups in self._rules.items():
            text = yaml.safe_dump(dict(groups), sort_keys=False)
            (self._folder / f"{name}.rules.yaml").write_text(text, encoding="utf-8")
        config = self._folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config), encoding="utf-8")
        command = [
            str(self._program),
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def ask(self, expression: str, at_s: float | None = None) -> list[Sample]:
        """What it answers: now, or of that moment, in seconds of the epoch. Fails the test where it refuses."""
        at = {} if at_s is None else {"time": f"{at_s:.3f}"}
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expression, **at})
        assert answer.status_code == httpx.codes.OK, f"{expression}: {answer.text}"
        result = answer.json()["data"]["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def alerts(self) -> set[str]:
        """Names of the alerts that are pending or firing."""
        alerts = httpx.get(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts}

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        raise AssertionError(f"Prometheus did not start: {' / '.join(said) or 'it said nothing'}")
