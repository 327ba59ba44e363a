"""The metrics of one role process: counted here, exposed by itself or by `serve`."""

import os

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from daemon.process.metrics_folder import VARIABLE
from daemon.settings.settings import Settings
from edits.errors import TemporaryError
from monitoring.metrics.process_metrics import Metrics

MULTIPROC_VARIABLE = VARIABLE  # set by the supervisor for all of its roles


def role_metrics(settings: Settings, *, expose: bool = True) -> Metrics:
    """This process's metrics; a role that runs alone exposes them on `metrics.port`, if that is set.

    Under `upkeep run` the processes share a folder, and `serve` exposes the union. A one-off command such as `upkeep apply`
    does not `expose`: it may run beside the role that has the port.

    Raises:
        TemporaryError: the port is taken.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    host, port = settings.metrics.host, settings.metrics.port
    if expose and port is not None and MULTIPROC_VARIABLE not in os.environ:
        try:
            start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise TemporaryError(
                f"cannot listen on {host}:{port} ({error.strerror}): set metrics.port"
            ) from error
        structlog.get_logger(__name__).info("metrics", address=f"http://{host}:{port}/metrics")
    return metrics
