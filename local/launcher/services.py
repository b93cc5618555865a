"""The services of the pipeline: commands, settings, readiness and dependencies."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from launcher import archive
from launcher.layout import LIB, TEMPLATES, Layout
from launcher.service import HttpProbe, Service, TcpProbe
from pipeline.errors import ConfigError
from pipeline.settings import PROJECT_ROOT, Settings

LOOPBACK = ("127.0.0.1", "localhost")
REGISTRY_API = "/apis/ccompat/v7"
"""Where Apicurio answers in the way of Confluent's Schema Registry."""

CASSANDRA_DATACENTER = "datacenter1"
"""The name that SimpleSnitch gives; it cannot be chosen."""

# Cassandra reaches into the JDK; this is the list of its own jvm17-server.options.
_CASSANDRA_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.rmi/sun.rmi.transport",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
)
_CASSANDRA_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)


@dataclass(frozen=True)
class Endpoint:
    """A port on which the pipeline listens, and the setting that moves it."""

    service: str
    setting: str
    host: str
    port: int


def endpoints(settings: Settings, without: Collection[str] = ()) -> list[Endpoint]:
    """Return every port of the pipeline; the servers ``without`` run elsewhere, with any address.

    Raises ``ConfigError`` when one of the others is to listen elsewhere than on loopback, or two
    of them on one port.
    """
    kafka_host, _, kafka_port = settings.kafka.bootstrap_servers.partition(",")[0].rpartition(":")
    registry = urlsplit(settings.registry.url)
    connect = urlsplit(settings.connect.url)
    cassandra_host = settings.cassandra.contact_points.partition(",")[0].strip()
    found = [
        Endpoint("kafka", "kafka.bootstrap_servers", kafka_host.strip(), int(kafka_port)),
        Endpoint(
            "kafka",
            "local.kafka_controller_port",
            kafka_host.strip(),
            settings.local.kafka_controller_port,
        ),
        Endpoint("registry", "registry.url", registry.hostname or "", registry.port or 0),
        Endpoint("connect", "connect.url", connect.hostname or "", connect.port or 0),
        Endpoint("cassandra", "cassandra.port", cassandra_host, settings.cassandra.port),
        Endpoint(
            "cassandra",
            "local.cassandra_storage_port",
            cassandra_host,
            settings.local.cassandra_storage_port,
        ),
        Endpoint("dashboard", "dashboard.port", settings.dashboard.host, settings.dashboard.port),
    ]
    taken: dict[int, Endpoint] = {}
    for endpoint in found:
        if endpoint.service in without:
            continue
        if endpoint.service != "dashboard" and endpoint.host not in LOOPBACK:
            setting = "cassandra.contact_points" if endpoint.host == cassandra_host else ""
            raise ConfigError(
                f"{setting or endpoint.setting}: {endpoint.host!r} is not allowed; `make run`"
                " starts its servers on 127.0.0.1"
            )
        if (other := taken.get(endpoint.port)) is not None:
            raise ConfigError(
                f"{endpoint.setting}: {endpoint.port} is not allowed; {other.setting} has it"
            )
        taken[endpoint.port] = endpoint
    if "cassandra" not in without and settings.cassandra.datacenter != CASSANDRA_DATACENTER:
        raise ConfigError(
            f"cassandra.datacenter: {settings.cassandra.datacenter!r} is not allowed; the Cassandra"
            f" of `make run` calls itself {CASSANDRA_DATACENTER}"
        )
    return found


def services(
    settings: Settings, layout: Layout, java: Path, without: Collection[str] = ()
) -> list[Service]:
    """Return every service of the pipeline, and write the configuration files they read.

    Those ``without`` are among them, for ``select`` to leave out; they may run elsewhere.
    """
    build = _Builder(settings, layout, java, without)
    found = [
        *build.kafka(),
        build.registry(),
        build.cassandra(),
        build.connect(),
        build.one_shot("topics", ["-m", "registration", "topics"], "connectors", "kafka registry"),
        build.one_shot("schema", ["cassandra/migrate.py"], "", "cassandra"),
        build.one_shot(
            "connector",
            ["-m", "registration", "connector"],
            "connectors",
            "connect topics schema registry",
        ),
        build.python("watcher", ["-m", "watcher"], "connectors", "schema"),
        build.detection(),
        build.python("quality", ["-m", "quality"], "flask", "schema topics"),
    ]
    if settings.simulator.enabled:
        found.append(build.python("simulator", ["-m", "simulator"], "producer", "topics"))
    found.append(build.dashboard())
    return found


def child_environment(
    settings: Settings, layout: Layout, without: Collection[str] = ()
) -> dict[str, str]:
    """Return what our Python services get on top of the environment."""
    # A crash in a native client library then leaves a traceback in the log.
    child = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    if "registry" not in without and not urlsplit(settings.registry.url).path.strip("/"):
        child["FRAUD__REGISTRY__URL"] = settings.registry.url.rstrip("/") + REGISTRY_API
    if Path(settings.scoring.checkpoint_dir).parts[:1] == (".local",):
        child["FRAUD__SCORING__CHECKPOINT_DIR"] = str(checkpoint_dir(settings, layout))
    return child


def checkpoint_dir(settings: Settings, layout: Layout) -> Path:
    """Return where the detection job of this pipeline has its checkpoint."""
    configured = Path(settings.scoring.checkpoint_dir)
    # A second pipeline (another local.dir) must never share the checkpoint of the first.
    if configured.parts[:1] == (".local",):
        return layout.root.joinpath(*configured.parts[1:])
    return PROJECT_ROOT / configured


def spark_environment(java: Path) -> dict[str, str]:
    """Return what a command with a Spark of its own gets on top of the environment."""
    return {
        "SPARK_JARS_DIR": str(LIB / "spark"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(java.parent.parent),
    }


class _Builder:
    def __init__(
        self, settings: Settings, layout: Layout, java: Path, without: Collection[str]
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._java = java
        self._without = without
        self._is_fast = settings.local.fast_start
        self._environment = child_environment(settings, layout, without)
        self._by_setting = {endpoint.setting: endpoint for endpoint in endpoints(settings, without)}

    def kafka(self) -> list[Service]:
        client = self._by_setting["kafka.bootstrap_servers"]
        data = self._layout.data / "kafka"
        conf = self._render(
            "server.properties",
            host=client.host,
            port=client.port,
            controller_port=self._settings.local.kafka_controller_port,
            data=data,
        )
        logging = [f"-Dlog4j2.configurationFile={self._render('log4j2.xml')}"]
        found = []
        before: frozenset[str] = frozenset()
        if "kafka" not in self._without and not (data / "meta.properties").exists():
            tool = ["kafka.tools.StorageTool", "format", "-t", "fraud-detection-local0", "-c"]
            found.append(
                Service(
                    "kafka-format",
                    [
                        *self._jvm("kafka-format", "kafka", "128m", quick=True),
                        *logging,
                        *tool,
                        str(conf),
                    ],
                    is_one_shot=True,
                )
            )
            before = frozenset({"kafka-format"})
        jvm = self._jvm("kafka", "kafka", "512m", fast_heap="384m", takes_all=True)
        found.append(
            Service(
                "kafka",
                [*jvm, *logging, "kafka.Kafka", str(conf)],
                depends_on=before,
                probe=TcpProbe(client.host, client.port),
            )
        )
        return found

    def registry(self) -> Service:
        endpoint = self._by_setting["registry.url"]
        database = self._layout.data / "registry" / "apicurio"
        options = {
            "quarkus.http.host": endpoint.host,
            "quarkus.http.port": endpoint.port,
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            # On disk, so that schema ids survive: records in Kafka refer to them.
            "apicurio.datasource.url": f"jdbc:h2:file:{database}",
            # Else a schema that differs in blanks only gets a new id, and the Connect converter
            # fails on every record.
            "apicurio.ccompat.use-canonical-hash": "true",
        }
        jar = next((LIB / "registry").glob("*-runner.jar"))
        return Service(
            "registry",
            [
                *self._jvm("registry", None, "256m", quick=True),
                *(f"-D{key}={value}" for key, value in options.items()),
                "-jar",
                str(jar),
            ],
            probe=HttpProbe(f"http://{endpoint.host}:{endpoint.port}/health/ready"),
        )

    def cassandra(self) -> Service:
        client = self._by_setting["cassandra.port"]
        conf = self._render(
            "cassandra.yaml",
            host=client.host,
            port=client.port,
            storage_port=self._settings.local.cassandra_storage_port,
            data=self._layout.data / "cassandra",
        )
        command = self._jvm("cassandra", "cassandra", "768m", fast_heap="384m", takes_all=True)
        command += [f"--add-exports={package}=ALL-UNNAMED" for package in _CASSANDRA_EXPORTS]
        command += [f"--add-opens={package}=ALL-UNNAMED" for package in _CASSANDRA_OPENS]
        command += [
            f"-Dcassandra.config=file://{conf}",
            f"-Dcassandra.storagedir={self._layout.data / 'cassandra'}",
            f"-Dlogback.configurationFile={self._render('logback.xml')}",
            "-Djdk.attach.allowAttachSelf=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            # One node: there is nobody to gossip with.
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=0",
            "org.apache.cassandra.service.CassandraDaemon",
        ]
        return Service(
            "cassandra",
            command,
            probe=TcpProbe(client.host, client.port),
        )

    def connect(self) -> Service:
        endpoint = self._by_setting["connect.url"]
        conf = self._render(
            "connect.properties",
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            host=endpoint.host,
            port=endpoint.port,
            plugins=LIB / "plugins",
        )
        return Service(
            "connect",
            [
                *self._jvm("connect", "kafka", "768m", fast_heap="384m"),
                f"-Dlog4j2.configurationFile={self._render('log4j2.xml')}",
                "org.apache.kafka.connect.cli.ConnectDistributed",
                str(conf),
            ],
            depends_on=frozenset({"kafka"}),
            probe=HttpProbe(f"http://{endpoint.host}:{endpoint.port}/connectors"),
        )

    def detection(self) -> Service:
        # Spark starts while Cassandra does; the job waits for the tables itself.
        return self.python(
            "detection",
            ["-m", "detection.job"],
            "spark",
            "topics",
            {
                **spark_environment(self._java),
                "SPARK_SUBMIT_OPTS": " ".join(
                    archive.jvm_options("spark", self._layout, self._java)
                ),
            },
        )

    def dashboard(self) -> Service:
        config = self._settings.dashboard
        service = self.python("dashboard", ["-m", "dashboard"], "flask", "schema")
        host = "127.0.0.1" if config.host == "0.0.0.0" else config.host  # noqa: S104
        return Service(
            service.name,
            service.command,
            service.environment,
            service.depends_on,
            probe=HttpProbe(f"http://{host}:{config.port}/livez"),
        )

    def python(
        self,
        name: str,
        arguments: list[str],
        folder: str,
        depends_on: str,
        extra: Mapping[str, str] | None = None,
        is_one_shot: bool = False,
    ) -> Service:
        path = [PROJECT_ROOT / "common", *([PROJECT_ROOT / folder] if folder else [])]
        environment = {
            **self._environment,
            **(extra or {}),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
        }
        return Service(
            name,
            [sys.executable, *arguments],
            environment,
            frozenset(depends_on.split()),
            is_one_shot=is_one_shot,
        )

    def one_shot(self, name: str, arguments: list[str], folder: str, depends_on: str) -> Service:
        return self.python(name, arguments, folder, depends_on, is_one_shot=True)

    def _render(self, name: str, **values: object) -> Path:
        path = self._layout.conf / name
        path.write_text(render(name, values), encoding="utf-8")
        return path

    def _jvm(
        self,
        name: str,
        jars: str | None,
        heap: str,
        fast_heap: str | None = None,
        quick: bool = False,
        takes_all: bool = False,
    ) -> list[str]:
        """Return the command of server ``name`` up to its main class or jar.

        ``quick`` (and ``local.fast_start``) leave out the optimising compiler: much quicker to
        start, and half the throughput of a busy server. ``takes_all``: of the heap at the start,
        which it comes to anyway: a machine that is too small says so at once, not at night.
        """
        if self._is_fast and fast_heap:
            heap = fast_heap
        command = [str(self._java), f"-Xmx{heap}", f"-Djava.io.tmpdir={self._layout.temporary}"]
        if quick or self._is_fast:
            command += ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        else:
            command += ["-XX:+UseG1GC"]
            if takes_all:
                command += [f"-Xms{heap}", "-XX:+AlwaysPreTouch"]
        command += archive.jvm_options(name, self._layout, self._java)
        if jars:
            command += ["-cp", os.pathsep.join(map(str, sorted((LIB / jars).glob("*.jar"))))]
        return command


def render(name: str, values: Mapping[str, object]) -> str:
    """Fill in a template; a placeholder without a value raises ``KeyError``."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    return Template(text).substitute(values) if values else text
