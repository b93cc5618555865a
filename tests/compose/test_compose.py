"""The life of the stack in containers: start, security, kills, restart, other starts, end."""

from __future__ import annotations

import json
import os
import random
import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest
from cassandra import Unauthorized
from cassandra.cluster import NoHostAvailable

from pipeline.names import KEYSPACE
from pipeline.settings import PROJECT_ROOT
from roles import PERMISSIONS
from tests.compose.stack import (
    LIVE_TIMEOUT_S,
    ONE_SHOTS,
    OURS,
    PROJECT,
    SERVERS,
    SERVICES,
    WORKERS,
    Stack,
    docker,
    run,
)
from tests.support.cql import table_columns
from tests.support.wait import wait_until

MEMORY_BYTES = 8 * 2**30
START_TIMEOUT_S = 240
SUPERUSER = "migration"


# Running


def test_it_goes_live_with_an_alert(stack: Stack) -> None:
    (alert, *_) = stack.alerts()
    assert alert["reason"]
    with stack.session("dashboard") as session:
        rows = session.execute("SELECT sender_account FROM fraud_alerts").all()
    assert alert["sender_account"] in {row.sender_account for row in rows}


def test_every_container_is_healthy_or_done(stack: Stack) -> None:
    for service in (*SERVERS, *WORKERS):
        wait_until(lambda name=service: stack.is_healthy(name), 60, f"{service} is healthy")
        assert stack.inspect(service)["RestartCount"] == 0, service
    for service in ONE_SHOTS:
        state = stack.inspect(service)["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0), service


def test_dead_letters_are_listed_in_a_container_of_their_own(stack: Stack) -> None:
    """``-T``: docker-compose 1.29 would else want a terminal."""
    command = ("run", "-T", "--rm", "--no-deps", "topics", "python", "-m", "deadletters")
    assert run(*stack.compose, *command).startswith("transactions.dlq holds ")


# Security of what runs


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_privilege(stack: Stack, service: str) -> None:
    container = stack.inspect(service)
    host = container["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["Privileged"]
    assert container["Config"]["User"] not in ("", "0", "root")
    assert 0 < host["Memory"] < MEMORY_BYTES
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert not any("docker.sock" in mount["Source"] for mount in container["Mounts"])
    if service in OURS:
        assert host["ReadonlyRootfs"]


@pytest.mark.parametrize("service", [*SERVERS, *WORKERS])
def test_a_main_process_has_no_privilege(stack: Stack, service: str) -> None:
    (container,) = stack.containers(service)
    status = docker("exec", container, "cat", "/proc/1/status")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert 0 not in map(int, fields["Uid"].split())
    for capabilities in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[capabilities], 16) == 0, capabilities
    assert fields["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize("service", WORKERS)
def test_only_tmp_can_be_written(stack: Stack, service: str) -> None:
    (container,) = stack.containers(service)
    probe = (
        "for path in /app /app/common /usr /home /run /run/password /var /etc; do"
        " ! touch $path/probe 2>/dev/null || echo $path; done;"
        " touch /tmp/probe && rm /tmp/probe"
    )
    assert docker("exec", container, "sh", "-c", probe) == ""


def test_only_the_dashboard_is_published_on_loopback(stack: Stack) -> None:
    published = {
        service: bindings
        for service in SERVICES
        if (bindings := stack.inspect(service)["HostConfig"]["PortBindings"])
    }
    assert published == {
        "dashboard": {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}
    }


def test_only_the_dashboard_is_on_the_outer_network(stack: Stack) -> None:
    networks = {
        service: set(stack.inspect(service)["NetworkSettings"]["Networks"]) for service in SERVICES
    }
    assert networks.pop("dashboard") == {f"{PROJECT}_front", f"{PROJECT}_back"}
    assert networks.pop("passwords") == {"none"}
    assert set().union(*networks.values()) == {f"{PROJECT}_back"}
    assert json.loads(docker("network", "inspect", f"{PROJECT}_back"))[0]["Internal"]


def test_the_memory_limits_fit_8_gib(stack: Stack) -> None:
    limits = [stack.inspect(service)["HostConfig"]["Memory"] for service in SERVICES]
    assert sum(limits) <= MEMORY_BYTES
    used = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    stack.timings["memory"] = "; ".join(
        line.replace(f"{PROJECT}_", "", 1) for line in used.splitlines() if PROJECT in line
    )
    assert not [name for name in SERVICES if stack.inspect(name)["State"]["OOMKilled"]]


# Passwords and roles


@pytest.fixture(scope="session")
def passwords(stack: Stack) -> dict[str, str]:
    return {role: stack.password(role) for role in (SUPERUSER, *PERMISSIONS)}


def test_every_role_has_a_random_password_of_its_own(passwords: dict[str, str]) -> None:
    assert len(set(passwords.values())) == len(passwords)
    assert all(len(password) >= 40 for password in passwords.values())


def test_no_password_is_in_the_repository_an_image_a_container_or_a_log(
    stack: Stack, passwords: dict[str, str]
) -> None:
    images = {stack.inspect(service)["Image"] for service in SERVICES}
    ours = {stack.inspect(service)["Config"]["Image"] for service in (*OURS, "connect")}
    url = f"http://{stack.address('connect')}:8083/connectors/cassandra-sink/config"
    places = {
        "image history": docker("image", "inspect", *images)
        + "".join(docker("history", "--no-trunc", image) for image in images),
        "container settings": docker("inspect", *stack.containers()),
        "logs": run(*stack.compose, "logs"),
        "Connect": urllib.request.urlopen(url, timeout=10).read().decode(),
    }
    for place, text in places.items():
        assert not [role for role, word in passwords.items() if word in text], place
    for path in run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        content = (PROJECT_ROOT / path).read_bytes() if (PROJECT_ROOT / path).is_file() else b""
        assert not [role for role, word in passwords.items() if word.encode() in content], path
    for image in ours:
        look = "find /run/password /run/passwords -type f 2>/dev/null || true"
        files = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", look)
        assert files == "", image


def test_each_service_sees_its_own_password_only(stack: Stack) -> None:
    for service in WORKERS:
        mounts = [mount["Name"] for mount in stack.inspect(service)["Mounts"] if "Name" in mount]
        seen = {name.rpartition("password-")[2] for name in mounts if "password-" in name}
        assert seen == {service}
        writable = [mount for mount in stack.inspect(service)["Mounts"] if mount["RW"]]
        assert len(writable) == (service == "spark")


def may(role: str, what: str, table: str) -> bool:
    """Tell whether cassandra/roles.py lets a role do something with a table."""
    everywhere, here = f"KEYSPACE {KEYSPACE}", f"TABLE {KEYSPACE}.{table}"
    return not {(what, everywhere), (what, here)}.isdisjoint(PERMISSIONS[role])


@pytest.mark.parametrize("role", PERMISSIONS)
def test_a_role_can_write_and_read_its_own_tables_only(
    stack: Stack, passwords: dict[str, str], role: str
) -> None:
    with stack.session(role, passwords[role]) as session:
        for table in table_columns():
            delete = f"DELETE FROM {table} WHERE {_key(session, table)}"
            if may(role, "MODIFY", table):
                session.execute(delete)
            else:
                with pytest.raises(Unauthorized):
                    session.execute(delete)
            select = f"SELECT * FROM {table} LIMIT 1"
            if may(role, "SELECT", table):
                session.execute(select)
            else:
                with pytest.raises(Unauthorized):
                    session.execute(select)
        for forbidden in (
            "DROP TABLE transactions",
            "TRUNCATE transactions",
            "CREATE TABLE fraud.probe (id int PRIMARY KEY)",
            "CREATE ROLE intruder",
            "ALTER ROLE spark WITH PASSWORD = 'x'" if role != "spark" else "DROP ROLE connect",
        ):
            if forbidden.startswith("TRUNCATE") and may(role, "MODIFY", "transactions"):
                continue  # TRUNCATE needs MODIFY, which the writer of the table has
            with pytest.raises(Unauthorized):
                session.execute(forbidden)


def _key(session: object, table: str) -> str:
    """Return a condition on the partition key of a row that does not exist."""
    columns = session.cluster.metadata.keyspaces["fraud"].tables[table].partition_key  # type: ignore[attr-defined]
    values = {"text": "'nobody'", "timestamp": "0", "date": "'1970-01-01'"}
    return " AND ".join(f"{column.name} = {values[column.cql_type]}" for column in columns)


@pytest.mark.parametrize("login", [("cassandra", "cassandra"), ("spark", "wrong")])
def test_nobody_else_can_log_in(stack: Stack, login: tuple[str, str]) -> None:
    with pytest.raises(NoHostAvailable), stack.session(*login):
        pass


# Faults, under load


@pytest.mark.parametrize("service", [*SERVERS, *WORKERS])
def test_a_killed_process_comes_back_and_the_pipeline_goes_on(stack: Stack, service: str) -> None:
    before = stack.scored()
    began = time.monotonic()
    stack.kill_main_process(service)
    wait_until(lambda: stack.is_healthy(service), START_TIMEOUT_S, f"{service} is healthy again")
    wait_until(
        lambda: stack.is_live() and stack.scored() > before,
        LIVE_TIMEOUT_S,
        "transactions are scored again",
        every_s=1.0,
    )
    stack.timings[f"{service} killed, live again"] = f"{time.monotonic() - began:.0f} s"


def assert_recount(stack: Stack) -> int:
    """Stop the simulator and compare topic, tables and reports; returns the number published."""
    run(*stack.compose, "stop", "producer")
    reconciled = wait_until(
        lambda: (
            (found := stack.api("/api/system").get("accounting", {})).get("status") == "reconciled"
            and found
        ),
        120,
        f"everything is stored and scored ({stack.api('/api/system').get('accounting')})",
        every_s=1.0,
    )
    counted = stack.recount()
    with stack.session("dashboard") as session:
        session.default_fetch_size = 5000
        rows = session.execute("SELECT transaction_id FROM transactions")
        stored = {row.transaction_id for row in rows}
    published_ids = set(counted["ids"])
    assert (len(published_ids - stored), len(stored - published_ids)) == (0, 0)
    assert reconciled["published"] == counted["published"]
    assert reconciled["dead_letters"] == counted["dead_letters"]
    assert reconciled["scored"] + reconciled["late"] == len(published_ids)
    published: int = counted["published"]
    return published


def test_after_all_kills_nothing_is_lost_or_doubled(stack: Stack) -> None:
    stack.timings["recounted after the kills"] = f"{assert_recount(stack)} transactions"
    began = time.monotonic()
    stack.verify()
    stack.timings["the proof after the kills"] = f"{time.monotonic() - began:.0f} s"


def test_init_steps_can_run_again(stack: Stack) -> None:
    for service in ONE_SHOTS:
        (container,) = stack.containers(service)
        assert docker("start", "--attach", container) is not None
        assert stack.inspect(service)["State"]["ExitCode"] == 0


def test_down_and_up_continue(stack: Stack) -> None:
    before = stack.scored()
    known = {alert["id"] for alert in stack.alerts()}
    stack.down()
    assert stack.containers() == []
    began = time.monotonic()
    stack.up()
    stack.wait_live()
    wait_until(lambda: stack.scored() > before, LIVE_TIMEOUT_S, "it goes on where it stood")
    stack.timings["up after down"] = f"{time.monotonic() - began:.0f} s"
    with stack.session("dashboard") as session:
        rows = session.execute("SELECT alert_id FROM fraud_alerts").all()
    assert known <= {row.alert_id for row in rows}
    assert_recount(stack)


def assert_nothing_is_left(stack: Stack) -> None:
    label = f"label=com.docker.compose.project={PROJECT}"
    assert stack.containers() == []
    assert docker("volume", "ls", "-q", "--filter", label) == ""
    assert docker("network", "ls", "-q", "--filter", label) == ""


# Other ways to start, each from nothing


@pytest.fixture
def emptied(empty: Stack) -> Iterator[Stack]:
    empty.down("-v")
    assert_nothing_is_left(empty)
    yield empty
    empty.down("-v")
    assert_nothing_is_left(empty)


@pytest.mark.parametrize("seed", range(int(os.environ.get("CHAOS", "1"))))
def test_any_order_of_starts_converges(emptied: Stack, seed: int) -> None:
    order = list(SERVICES)
    random.Random(seed).shuffle(order)
    began = time.monotonic()
    for service in order:
        emptied.up("--no-deps", service)
    emptied.wait_live()
    emptied.wait_true_alert()
    emptied.timings[f"order {seed}, first true alert"] = f"{time.monotonic() - began:.0f} s"


def test_the_v2_plugin_starts_it_too(emptied: Stack, composes: dict[str, tuple[str, ...]]) -> None:
    if "v2" not in composes:
        pytest.skip("the v2 plugin is not here and could not be built")
    began = time.monotonic()
    run(*composes["v2"], "up", "-d", "--wait", "--no-build")
    assert emptied.is_healthy("dashboard")
    emptied.wait_live()
    emptied.wait_true_alert()
    emptied.timings["v2: from nothing to the first true alert"] = (
        f"{time.monotonic() - began:.0f} s"
    )
    run(*composes["v2"], "down", "-v")
    assert_nothing_is_left(emptied)


def test_the_port_is_free_at_the_end(empty: Stack) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", empty.port))
