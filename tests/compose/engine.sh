# shellcheck shell=bash
# A Docker engine of our own, for machines without one; read by run.sh. Its data lies in $work, and
# it leaves the machine's network as it was.

# Short: the path of a socket may have 107 characters at most.
runtime=/run/fraud-detection-compose

# The client in /usr/local/bin may be another one, without an engine behind it.
export PATH=/usr/bin:/usr/sbin:$PATH

engine_answers() { timeout 20 docker info >/dev/null 2>&1; }

engine_install() {
  local packages=(docker.io docker-compose debootstrap iptables iproute2)
  dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
  echo "compose: installing ${packages[*]}"
  # The package would start an engine of its own where there is systemd.
  local policy=/usr/sbin/policy-rc.d ours=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && ours=1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" \
    >"$work/apt.log" 2>&1 || { tail "$work/apt.log"; return 1; }
  [ -z "$ours" ] || rm $policy
}

# The rules and chains that mean anything, without their counters: empty tables do not.
firewall() {
  { iptables-save && ip6tables-save; } |
    sed -nE -e 's/\[[0-9:]*\]//' -e '/^-A/p' -e '/^:[^ ]+ (-|DROP)/p'
}

# Restoring alone would leave the rules of a table that did not exist before.
firewall_restore() {
  local table
  for table in filter nat; do
    iptables -t $table -F
    iptables -t $table -X
  done
  iptables -P FORWARD ACCEPT
  iptables-restore <"$runtime/iptables"
  ip6tables-restore <"$runtime/ip6tables"
}

engine_start() {
  engine_stop || true # what an interrupted run has left
  mkdir -p "$runtime"
  iptables-save >"$runtime/iptables"
  ip6tables-save >"$runtime/ip6tables"
  firewall >"$runtime/firewall"
  cat /proc/sys/net/ipv4/ip_forward >"$runtime/ip_forward"
  ls /sys/class/net >"$runtime/links"
  export DOCKER_HOST=unix://$runtime/docker.sock
  echo '{}' >"$work/daemon.json" # not the machine's own, if it has one
  # A session of its own: Ctrl-C must reach us, not it.
  setsid dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$runtime/exec" \
    --pidfile "$runtime/dockerd.pid" --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 &
  local pid=$!
  until engine_answers; do
    if ! kill -0 $pid 2>/dev/null; then
      echo "compose: the engine ended; the end of $work/dockerd.log:"
      tail "$work/dockerd.log"
      return 1
    fi
    read -rt 0.5 <> <(:) || true
  done
}

# engine_stop: end it and put the network back; fails if something is left.
engine_stop() {
  local pid link before
  [ -e "$runtime/links" ] || return 0
  if pid=$(cat "$runtime/dockerd.pid" 2>/dev/null) && kill "$pid" 2>/dev/null; then
    timeout 60 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
  fi
  for link in /sys/class/net/*; do
    link=${link##*/}
    grep -qxF "$link" "$runtime/links" || ip link delete "$link" 2>/dev/null || true
  done
  firewall_restore
  cat "$runtime/ip_forward" >/proc/sys/net/ipv4/ip_forward
  before=$(<"$runtime/firewall")
  rm -rf "$runtime"
  [ "$(firewall)" = "$before" ] && ! pgrep -f "$runtime" >/dev/null
}
