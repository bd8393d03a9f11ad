"""Numbers of the process in Prometheus' text form, read from plain counters when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.http.bearer_guard import BearerGuard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True):
    """One number now.

    Attributes:
        name: Metric name without the ``tidewire_`` prefix; a counter's ends in ``_total``.
        help: What it counts, and its unit.
        value: The number.
        labels: Label names and values.
        prefix: What stands before the name.
    """

    name: str
    help: str
    value: float
    labels: dict[str, str] = {}
    prefix: str = "tidewire_"

    @property
    def is_counter(self) -> bool:
        """Whether it only ever grows."""
        return self.name.endswith("_total")


ReadSamples = Callable[[], Iterable[Sample]]


class SampleCollector(Collector):
    """Gives samples to a Prometheus registry at each scrape."""

    def __init__(self, read: ReadSamples) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Families of equal names, in the order of their first sample."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for sample in self._read():
            name = sample.prefix + sample.name
            family = families.get(name)
            if family is None:
                kind = CounterMetricFamily if sample.is_counter else GaugeMetricFamily
                family = kind(name, sample.help, labels=list(sample.labels))
                families[name] = family
            family.add_metric(list(sample.labels.values()), sample.value)
        return families.values()


def metrics_routes(read: ReadSamples, guard: BearerGuard | None = None) -> list[Route]:
    """The route ``/metrics``.

    Args:
        read: Gives all samples; called at each scrape, must not wait.
        guard: Lets those in who may scrape; None lets everybody.
    """
    registry = CollectorRegistry()
    registry.register(SampleCollector(read))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)

    async def metrics(_: Request) -> Response:
        headers = {"Cache-Control": "no-store"}
        return Response(generate_latest(registry), media_type=CONTENT_TYPE, headers=headers)

    return [Route("/metrics", guard.guards(metrics) if guard else metrics)]
