"""The dashboard of the docs asks for what a worker measures, and for nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from esms_async.cli.health import WorkerMetrics
from esms_async.queue.breakers import silence
from tests.docs.blocks import ROOT
from tests.ledger.redis_server import RedisServer
from tests.queue.support import Gateway, until, working

FOLDER = ROOT / "docs" / "examples" / "monitoring"
PAGES = ("more-than-one-machine.md", "more-than-one-machine.vi.md")
_METRIC = re.compile(r"\besms_queue_[a-z_]+")


def expressions() -> list[str]:
    """The expressions of the dashboard."""
    board: Any = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def named_on(page: str) -> set[str]:
    """The metrics that a page of the docs names."""
    return set(_METRIC.findall((ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")))


async def test_a_worker_gives_what_the_dashboard_asks_for(
    redis: RedisServer, gateway: Gateway
) -> None:
    """Each metric of the dashboard and of the pages, and each label, is one that a worker gives."""
    metrics = WorkerMetrics()
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.worker.problems() == [])
        running.worker.breakers.trip(silence("nobody listens"))
        metrics.count("otp", "accepted", 0.1)
        given = (await metrics.render(running.worker)).decode()
    known = set(_METRIC.findall(given))
    asked = {name for expression in expressions() for name in _METRIC.findall(expression)}
    assert asked - known == set()
    assert {"esms_queue_depth", "esms_queue_dead", "esms_queue_breaker_open"} <= asked
    assert {name for page in PAGES for name in named_on(page)} - known == set()
    used = {
        label
        for expression in expressions()
        for labels in re.findall(r"by \(([^)]+)\)", expression)
        for label in labels.split(", ")
    }
    assert used - set(re.findall(r'[{,](\w+)="', given)) == set()


def test_what_compose_mounts_is_there() -> None:
    """Every file that the services read is in the folder, and is what its reader takes."""
    compose: Any = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    mounted = {
        Path(volume.split(":")[0]).name
        for service in compose["services"].values()
        for volume in service["volumes"]
    }
    assert mounted == {path.name for path in FOLDER.iterdir()} - {"compose.yaml"}
    assert compose["services"]["grafana"]["ports"] == ["127.0.0.1:3000:3000"]
    for name in mounted - {"dashboard.json"}:
        assert yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_prometheus_asks_the_workers_of_the_page(page: str) -> None:
    """The name and the port of the workers are those of the compose file on the page."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    scraped: Any = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    (found,) = scraped["scrape_configs"][0]["dns_sd_configs"]
    assert f"\n  {found['names'][0]}:\n" in text
    assert f'"--listen", "0.0.0.0:{found["port"]}"' in text
