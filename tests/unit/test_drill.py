"""The pure parts of `make drill`; tests/stack runs a short one for real."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from drill import faults
from drill.accounting import Accounting, Difference
from drill.faults import KINDS, Fault, inflict, parse
from drill.network import CASSANDRA_CLIENTS, Network
from drill.observe import NO_ANSWER, Sample, calm, sequence
from drill.report import Outcome, Report, machine
from drill.supervise import reroute
from launcher import processes
from launcher.layout import Layout
from launcher.own import Pipeline
from launcher.processes import Identity, session_members
from launcher.service import Service
from launcher.services import services
from pipeline.errors import PipelineError
from pipeline.settings import load_settings
from tests.support.wait import wait_until

NO_TROUBLE: frozenset[str] = frozenset()


def sample(at: float, state: str = "live", *troubles: str) -> Sample:
    return Sample(at, state, frozenset(troubles), seconds=0.1)


class TestFaults:
    def test_a_component_stands_for_all_its_faults(self) -> None:
        assert parse("registry,quality:kill") == (
            Fault("registry", "kill"),
            Fault("registry", "freeze"),
            Fault("quality", "kill"),
        )

    def test_an_unknown_fault_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(PipelineError, match=r"FAULTS=cassandra:explode: .*cassandra:kill"):
            parse("cassandra:explode")

    def test_every_service_that_runs_on_has_a_fault(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        layout.create()
        found = services(load_settings(environment={}), layout, Path("/usr/bin/java"))
        assert {service.name for service in found if not service.is_one_shot} == KINDS.keys()
        assert CASSANDRA_CLIENTS.keys() <= {service.name for service in found}

    def test_a_killed_child_leaves_its_parent(self, tmp_path: Path) -> None:
        code = "import subprocess; subprocess.run([sys.executable, '-c', 'input()']); input()"
        pipeline, leader = pipeline_of("detection", code, tmp_path)
        try:
            (child,) = wait_until(
                lambda: [pid for pid in session_members(leader.pid) if pid != leader.pid],
                20,
                "the child runs",
            )
            inflict(Fault("detection", "kill-child"), pipeline, NETWORK)
            wait_until(lambda: child not in session_members(leader.pid), 20, "the child is gone")
        finally:
            processes.end([leader], grace_s=0)
            assert pipeline.launcher.wait() is not None

    def test_a_frozen_service_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(faults, "FREEZE_S", 0.5)
        pipeline, leader = pipeline_of("kafka", "input()", tmp_path)
        try:
            inflict(Fault("kafka", "freeze"), pipeline, NETWORK)
            found = processes.stat(leader.pid)
            assert found is not None
            assert found.state != "T"
        finally:
            processes.end([leader], grace_s=0)
            assert pipeline.launcher.wait() == -signal.SIGTERM


NETWORK: Any = None
"""Not needed for what is done to processes."""


def pipeline_of(service: str, code: str, folder: Path) -> tuple[Pipeline, Identity]:
    """Start a process as the one service of a launcher."""
    layout = Layout(folder)
    layout.create()
    log = layout.log(service)
    # Its input never ends, so that `input()` waits.
    code = f"import os, sys; os.dup2(os.pipe()[0], 0); {code}"
    process = processes.start([sys.executable, "-c", code], {}, folder, log)
    identity = Identity.of(process.pid)
    state = {"name": service, "state": "ready", "since": 0.0, **vars(identity)}
    layout.state.write_text(json.dumps([state]))
    return Pipeline(load_settings(environment={}), layout, {}, process, log), identity


PORTS = {"kafka": 1, "connector": 2, "detection": 3}


class TestRoads:
    def test_kafka_advertises_its_proxy(self) -> None:
        changed = reroute(Service("kafka", ["java", "kafka.Kafka", "conf"]), PORTS)
        assert changed.command == [
            *("java", "kafka.Kafka", "conf"),
            *("--override", "advertised.listeners=PLAINTEXT://127.0.0.1:1"),
        ]

    def test_a_client_finds_both_servers_behind_proxies(self) -> None:
        changed = reroute(Service("detection", [], {"A": "b"}), PORTS)
        assert changed.environment == {
            "A": "b",
            "FRAUD__KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "FRAUD__CASSANDRA__PORT": "3",
        }
        load_settings(environment=changed.environment)

    def test_others_stay_as_they_are(self) -> None:
        registry = Service("registry", ["java"])
        assert reroute(registry, PORTS) is registry

    @pytest.mark.parametrize(
        ("component", "expected"),
        [
            ("kafka", ["0 drop"]),
            ("cassandra", ["1 drop", "2 drop"]),
            ("connect", ["1 drop"]),
            ("detection", ["2 drop"]),
        ],
    )
    def test_a_fault_is_on_the_roads_of_its_component(
        self, component: str, expected: list[str]
    ) -> None:
        lines: list[str] = []
        process: Any = FakeProcess(lines)
        Network(PORTS, process).set(component, faults.MODES["cut"])
        assert "".join(lines).splitlines() == expected


@dataclasses.dataclass
class FakeProcess:
    """Only what is written to it is of interest."""

    lines: list[str]

    @property
    def stdin(self) -> FakeProcess:
        return self

    def write(self, line: str) -> None:
        self.lines.append(line)

    def flush(self) -> None:
        """Nothing is held back."""


class TestWhatIsSeen:
    def test_live_is_calm_only_while_nothing_is_scored(self) -> None:
        starts = [100.0, 101.0, 130.0]
        samples = [sample(110), sample(117), sample(118, "delayed"), sample(131)]
        assert [found.at for found in calm(samples, starts, stale_after_s=15)] == [117]

    def test_live_before_anything_was_scored_is_calm(self) -> None:
        assert calm([sample(1)], [], stale_after_s=15) == [sample(1)]

    def test_states_are_told_in_order_without_repetition(self) -> None:
        states = ["live", "live", "stale", "stale", "live"]
        found = sequence(sample(at, state) for at, state in enumerate(states))
        assert found == ["live", "stale", "live"]

    def test_a_component_in_trouble_is_not_sound(self) -> None:
        assert sample(1).is_sound
        assert not sample(1, "live", "connect failed").is_sound
        assert not sample(1, "delayed").is_sound


class TestAccounting:
    def test_the_result_of_verify_is_read(self) -> None:
        found = {"check": "metrics", "kind": "different", "key": "window_start=x", "detail": "y"}
        result = {"ok": False, "kafka_records": 7, "notes": [], "differences": [found]}
        assert Accounting.parse(result) == Accounting(
            {"kafka_records": 7}, (Difference("metrics", "different", "window_start=x"),)
        )

    @pytest.mark.parametrize(
        ("key", "at"),
        [
            ("sender_account=a day=2025-01-01 transaction_timestamp=1500 transaction_id=b", 1.5),
            ("sender_account=a window_start=1970-01-01T00:02:00+00:00", 120.0),
            ("transaction_id=b", None),
        ],
    )
    def test_a_difference_tells_when_it_happened(self, key: str, at: float | None) -> None:
        assert Difference("table", "missing", key).at == at


class TestReport:
    FIRST = Outcome(
        fault=Fault("detection", "kill"),
        began_at=1000.0,
        restarted_s=1.04,
        first_alert_s=12.34,
        recovered_s=15.0,
        is_over=True,
        samples=[sample(1000), sample(1016, "stale", "detection stale"), sample(1017)],
    )
    SECOND = dataclasses.replace(
        FIRST,
        fault=Fault("kafka", "freeze"),
        began_at=1100.0,
        restarted_s=None,
        samples=[sample(1100)],
    )
    REPORT = Report(
        settings=load_settings(environment={}),
        seed=7,
        began_at=900.0,
        seconds=300.0,
        outcomes=[FIRST, SECOND],
        accounting=Accounting({"kafka_records": 50, "alerts": 3}, ()),
        batch_starts=[999.0, 1001.0, 1015.0, 1099.0],
    )

    def test_a_drill_without_a_difference_is_ok(self) -> None:
        result = self.REPORT.as_json()
        assert result["ok"]
        assert (result["lost"], result["doubled"]) == (0, 0)
        assert result["faults"][0] == {
            "component": "detection",
            "fault": "kill",
            "lost": 0,
            "doubled": 0,
            "restarted_s": 1.0,
            "first_alert_s": 12.3,
            "recovered_s": 15.0,
            "dashboard": ["live", "stale", "live"],
            "system": ["detection stale"],
            "slowest_answer_s": 0.1,
            "said_live_while_dead": 0,
        }

    def test_a_lost_record_is_that_of_the_fault_it_was_published_after(self) -> None:
        found = (
            Difference("transactions", "missing", "transaction_id=a"),
            Difference("by_account", "missing", "transaction_timestamp=1099000"),
            Difference("by_account", "missing", "transaction_timestamp=1150000"),
            Difference("by_account", "missing", "transaction_timestamp=900000"),
            Difference("metrics", "extra", "window_start=1970-01-01T00:17:00+00:00"),
        )
        accounting = Accounting({"kafka_records": 50, "alerts": 3}, found)
        result = dataclasses.replace(self.REPORT, accounting=accounting).as_json()
        assert not result["ok"]
        assert (result["lost"], result["doubled"]) == (4, 1)
        assert [fault["lost"] for fault in result["faults"]] == [1, 1]
        assert [fault["doubled"] for fault in result["faults"]] == [1, 0]
        assert result["problems"][0] == "missing in transactions: transaction_id=a"

    def test_a_drill_that_did_not_come_to_the_accounting_is_not_ok(self) -> None:
        outcome = dataclasses.replace(self.FIRST, first_alert_s=None, is_over=False)
        report = dataclasses.replace(self.REPORT, outcomes=[outcome], accounting=None)
        assert report.problems == ["detection:kill: did not recover", "not accounted for"]
        assert report.as_json()["lost"] is None
        assert "| detection | kill | - | - |" in report.as_markdown()

    def test_a_calm_dashboard_is_a_problem(self) -> None:
        report = dataclasses.replace(self.REPORT, batch_starts=[900.0, 1099.0])
        assert report.problems == [
            "detection:kill: the dashboard said live at 00:16:40 while nothing was scored"
        ]

    def test_only_a_fault_of_its_own_excuses_a_silent_dashboard(self) -> None:
        silent = dataclasses.replace(self.FIRST, samples=[sample(1000, NO_ANSWER)])
        assert silent.is_hung
        assert not dataclasses.replace(silent, fault=Fault("dashboard", "kill")).is_hung

    def test_the_table_has_a_row_for_each_fault(self) -> None:
        text = self.REPORT.as_markdown()
        assert "| kafka | freeze | 0 | 0 | - | 12.3 | 15.0 | live | 0.1 | - |" in text
        assert "1 starts of the Spark job: first new alert after 11.3 s" in text
        assert machine() in text
