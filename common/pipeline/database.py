"""How every Python service connects to Cassandra."""

from __future__ import annotations

from typing import Final

from cassandra import ConsistencyLevel, DriverException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)

from pipeline.settings import CassandraConfig

OUTAGES: Final[tuple[type[Exception], ...]] = (
    DriverException,
    NoHostAvailable,
    ConnectionException,
    ConnectionBusy,
    OSError,
)
"""What the driver raises when Cassandra does not do what it was asked for; it may do so later. A
request that is under way when a connection breaks ends with ``ConnectionException``, which is no
``DriverException``."""

RECONNECT_S = 1.0
"""The driver's default backs off to 10 minutes: services would stay blind after an outage."""


def cluster(config: CassandraConfig, request_timeout_s: float = 10.0) -> Cluster:
    """Return a cluster handle, not yet connected; the caller calls ``connect`` and ``shutdown``.

    A request that takes longer than ``request_timeout_s`` raises ``OperationTimedOut``. Nothing
    is retried by the driver: each service decides itself, and says so.
    """
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(config.datacenter)),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=request_timeout_s,
    )
    login = PlainTextAuthProvider(config.username, config.password) if config.username else None
    return Cluster(
        [host.strip() for host in config.contact_points.split(",")],
        port=config.port,
        auth_provider=login,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None),
        protocol_version=5,
        connect_timeout=request_timeout_s,
    )
