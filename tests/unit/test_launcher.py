"""The pure parts of the launcher; tests/stack starts the real servers with it."""

from __future__ import annotations

import dataclasses
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from launcher import processes
from launcher.doctor import is_free, listening_inodes, port_holder
from launcher.java import release_version
from launcher.layout import TEMPLATES, Layout
from launcher.processes import Identity, parse_stat, stat
from launcher.service import HttpProbe, Service, TcpProbe, select, start_order
from launcher.services import child_environment, endpoints, render
from launcher.supervisor import Supervisor, tail
from pipeline.errors import ConfigError, PipelineError
from pipeline.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings(environment={})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.create()
    return layout


def service(name: str, *depends_on: str, code: str = "", **options: object) -> Service:
    command = [sys.executable, "-c", code]
    return dataclasses.replace(Service(name, command, depends_on=frozenset(depends_on)), **options)


def names(waves: list[list[Service]]) -> list[list[str]]:
    return [[service.name for service in wave] for wave in waves]


class TestOrder:
    def test_services_start_after_what_they_depend_on(self) -> None:
        services = [service("c", "a", "b"), service("a"), service("b", "a"), service("d")]
        assert names(start_order(services)) == [["a", "d"], ["b"], ["c"]]

    def test_a_circle_is_an_error_that_names_it(self) -> None:
        with pytest.raises(PipelineError, match="circle: a, b"):
            start_order([service("a", "b"), service("b", "a"), service("c")])

    def test_an_unknown_dependency_is_an_error(self) -> None:
        with pytest.raises(PipelineError, match="a depends on unknown x"):
            start_order([service("a", "x")])

    def test_nobody_waits_for_a_service_that_is_left_out(self) -> None:
        kept = select([service("a"), service("b", "a")], without=["a"])
        assert names(start_order(kept)) == [["b"]]

    def test_leaving_out_an_unknown_service_names_the_known_ones(self) -> None:
        with pytest.raises(PipelineError, match="'x' is no service; known are a, b"):
            select([service("a"), service("b")], without=["x"])


class TestEndpoints:
    def test_every_port_comes_from_its_setting(self, settings: Settings) -> None:
        ports = {endpoint.setting: endpoint.port for endpoint in endpoints(settings)}
        assert ports == {
            "kafka.bootstrap_servers": 9092,
            "local.kafka_controller_port": 9093,
            "registry.url": 8081,
            "connect.url": 8083,
            "cassandra.port": 9042,
            "local.cassandra_storage_port": 7000,
            "dashboard.port": 5000,
        }

    @pytest.mark.parametrize(
        ("variable", "value", "setting"),
        [
            ("FRAUD__KAFKA__BOOTSTRAP_SERVERS", "kafka:9092", "kafka.bootstrap_servers"),
            ("FRAUD__REGISTRY__URL", "http://registry:8081", "registry.url"),
            ("FRAUD__CONNECT__URL", "http://0.0.0.0:8083", "connect.url"),
            ("FRAUD__CASSANDRA__CONTACT_POINTS", "10.0.0.1", "cassandra.contact_points"),
            ("FRAUD__CASSANDRA__DATACENTER", "dc2", "cassandra.datacenter"),
            ("FRAUD__CASSANDRA__PORT", "9092", "cassandra.port"),
        ],
    )
    def test_what_make_run_cannot_offer_is_refused(
        self, variable: str, value: str, setting: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"^{setting}: .* is not allowed"):
            endpoints(load_settings(environment={variable: value}))

    def test_a_server_that_is_left_out_may_be_anywhere(self) -> None:
        variables = {
            "FRAUD__KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
            "FRAUD__REGISTRY__URL": "http://registry:9092",
        }
        settings = load_settings(environment=variables)
        endpoints(settings, without=["kafka", "registry"])
        with pytest.raises(ConfigError, match=r"^registry\.url"):
            endpoints(settings, without=["kafka"])


class TestChildEnvironment:
    def test_the_registry_gets_the_path_of_its_api_unless_it_has_one(self, tmp_path: Path) -> None:
        plain = load_settings(environment={"FRAUD__REGISTRY__URL": "http://127.0.0.1:8081"})
        child = child_environment(plain, Layout(tmp_path))
        assert child["FRAUD__REGISTRY__URL"] == "http://127.0.0.1:8081/apis/ccompat/v7"
        full = load_settings(environment=child)
        assert "FRAUD__REGISTRY__URL" not in child_environment(full, Layout(tmp_path))
        elsewhere = child_environment(plain, Layout(tmp_path), without=["registry"])
        assert "FRAUD__REGISTRY__URL" not in elsewhere

    def test_a_second_pipeline_has_a_checkpoint_of_its_own(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        child = child_environment(settings, Layout(tmp_path))
        assert child["FRAUD__SCORING__CHECKPOINT_DIR"] == str(tmp_path / "checkpoint")


class TestTemplates:
    @pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
    def test_no_placeholder_is_left(self, path: Path) -> None:
        keys = "host port controller_port storage_port data bootstrap_servers plugins"
        values = {} if path.suffix == ".xml" else dict.fromkeys(keys.split(), "value")
        assert "$" not in render(path.name, values)

    def test_a_missing_value_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="controller_port"):
            render("server.properties", {"host": "127.0.0.1", "port": 1})


class TestProc:
    def test_a_command_with_brackets_and_blanks_is_parsed(self) -> None:
        numbers = " ".join(str(number) for number in range(4, 53))
        parsed = parse_stat(f"17 (a) b (c)) S {numbers}")
        assert (parsed.pid, parsed.state) == (17, "S")
        # Fields 6 and 22, as proc(5) counts them from 1.
        assert (parsed.session, parsed.start_ticks) == (6, 22)

    def test_listening_sockets_are_found_by_port(self) -> None:
        table = (
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
            "   0: 0100007F:2384 00000000:0000 0A 0:0 00:0 0 0 0 4711 1\n"
            "   1: 0100007F:2384 0100007F:9999 01 0:0 00:0 0 0 0 4712 1\n"
            "   2: 0100007F:2385 00000000:0000 0A 0:0 00:0 0 0 0 4713 1\n"
        )
        assert listening_inodes(table, 0x2384) == ["4711"]

    def test_the_holder_of_a_port_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert not is_free("127.0.0.1", port)
            holder = port_holder(port)
            assert holder is not None
            assert TcpProbe("127.0.0.1", port).is_ready()
        assert is_free("127.0.0.1", port)
        assert not TcpProbe("127.0.0.1", port).is_ready()
        assert not HttpProbe(f"http://127.0.0.1:{port}/").is_ready()

    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ('IMPLEMENTOR="Debian"\nJAVA_VERSION="17.0.15"\n', 17),
            ('JAVA_VERSION="1.8.0_402"', 8),
            ('JAVA_VERSION="21"', 21),
            ("", None),
        ],
    )
    def test_the_version_of_a_jdk_is_read(self, text: str, version: int | None) -> None:
        assert release_version(text) == version

    def test_the_tail_of_a_log_skips_empty_lines(self) -> None:
        assert tail("a\n\nb\n \nc\n", lines=2) == ["b", "c"]


SLEEP = "import threading; threading.Event().wait()"


class TestSupervisor:
    def run(self, services: list[Service], layout: Layout, until: str) -> list[str]:
        """Run until a line holds ``until``; returns the lines."""
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            if until in line:
                supervisor.stop()

        supervisor = Supervisor(services, layout, say)
        timer = threading.Timer(60, supervisor.stop)
        timer.start()
        try:
            supervisor.run(lambda _: say("all ready"))
        finally:
            timer.cancel()
        assert any(until in line for line in lines), lines
        return lines

    def test_services_come_up_in_order_and_nothing_is_left(self, layout: Layout) -> None:
        child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{SLEEP}'])"
        services = [service("late", "once", code=child), service("once", is_one_shot=True)]
        lines = self.run(services, layout, "all ready")
        assert [line.split()[:2] for line in lines[:-1]] == [
            ["once", "done"],
            ["late", "ready"],
            ["all", "ready"],
        ]
        assert not layout.state.exists()

    def test_a_service_that_ends_is_started_again(self, layout: Layout) -> None:
        marker = layout.root / "second"
        code = (
            f"import pathlib; marker = pathlib.Path({str(marker)!r})\n"
            "if marker.exists(): print('again', flush=True)\n"
            "marker.touch()"
        )
        self.run([service("a", code=code)], layout, "starts again in 2 s")
        assert "again" in layout.log("a").read_text()

    def test_a_one_shot_that_fails_three_times_ends_everything(self, layout: Layout) -> None:
        services = [
            service("a", code="raise SystemExit('no broker')", is_one_shot=True),
            service("b", code=SLEEP),
        ]
        with pytest.raises(PipelineError, match=r"a: ended with status 1(.|\n)*no broker"):
            self.run(services, layout, "never")
        assert not layout.state.exists()

    def test_a_wrong_setting_is_not_tried_twice(self, layout: Layout) -> None:
        code = "import sys; print('config: wrong'); sys.exit(2)"
        with pytest.raises(PipelineError, match="config: wrong"):
            self.run([service("a", code=code, is_one_shot=True)], layout, "never")
        assert layout.log("a").read_text() == "config: wrong\n"

    def test_what_ignores_sigterm_is_killed_with_its_children(self, layout: Layout) -> None:
        stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
        code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); "
        process = processes.start(
            [sys.executable, "-c", code + stubborn], {}, layout.root, layout.log("a")
        )
        identity = Identity.of(process.pid)
        wait = threading.Event()
        while len(identity.members()) < 2:
            assert process.poll() is None, layout.log("a").read_text()
            wait.wait(0.02)
        processes.end([identity], grace_s=0.3)
        assert process.wait() in (-signal.SIGKILL, -signal.SIGTERM)
        assert identity.members() == []
        assert stat(process.pid) is None
