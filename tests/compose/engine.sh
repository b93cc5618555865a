# shellcheck shell=bash
# A Docker engine of our own, for machines without one; read by run.sh. Everything of it lies in
# $work and $runtime, and the machine's network is left as it was.

# Short: the path of a socket may have 107 characters at most.
runtime=/run/fraud-detection-compose

# The client in /usr/local/bin may be another, without an engine behind it.
export PATH=/usr/bin:/usr/sbin:$PATH

engine_answers() { docker info >/dev/null 2>&1; }

engine_install() {
  local packages=(docker.io docker-compose debootstrap iptables iproute2)
  dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
  echo "compose: installing ${packages[*]}"
  # A package must not start an engine of its own.
  local policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && local ours=1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" \
    >"$work/apt.log" 2>&1 || { tail "$work/apt.log"; return 1; }
  [ -z "${ours:-}" ] || rm $policy
}

engine_start() {
  mkdir -p "$runtime"
  [ -e "$runtime/iptables" ] || {
    iptables-save >"$runtime/iptables"
    ip6tables-save >"$runtime/ip6tables"
    cat /proc/sys/net/ipv4/ip_forward >"$runtime/ip_forward"
    ls /sys/class/net >"$runtime/links"
  }
  export DOCKER_HOST=unix://$runtime/docker.sock
  echo '{}' >"$work/daemon.json" # not the machine's own, if it has one
  # Without systemd, a daemon of its own session: Ctrl-C must reach us, not it.
  setsid dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$runtime/exec" \
    --pidfile "$runtime/dockerd.pid" --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 &
  local try
  for try in {1..120}; do
    engine_answers && return
    kill -0 $! 2>/dev/null || break
    read -rt 0.5 <> <(:) || true
  done
  echo "compose: the engine does not answer ($try tries); the end of $work/dockerd.log:"
  tail "$work/dockerd.log"
  return 1
}

engine_stop() {
  local pid link
  [ -d "$runtime" ] || return 0
  if pid=$(cat "$runtime/dockerd.pid" 2>/dev/null); then
    kill "$pid" 2>/dev/null || true
    timeout 60 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
  fi
  for link in $(ls /sys/class/net); do
    grep -qx "$link" "$runtime/links" || ip link delete "$link" 2>/dev/null || true
  done
  iptables-restore <"$runtime/iptables"
  ip6tables-restore <"$runtime/ip6tables"
  cat "$runtime/ip_forward" >/proc/sys/net/ipv4/ip_forward
  rm -rf "$runtime"
}
