# shellcheck shell=bash
# Stand-ins for the official images, and the v2 plugin; read by run.sh. The images hold this
# machine's certificates and pip settings, so that the builds of our own images reach the same
# servers as the machine does: made on each machine, published by none.

compose_v2=v2.32.4
built=()

# plugin_build: Compose v2, if there is Go to build it and the engine's client has none.
plugin_build() {
  local plugins=$work/client/cli-plugins
  docker compose version >/dev/null 2>&1 && return
  [ ! -x "$plugins/docker-compose" ] || return 0
  command -v go >/dev/null || { echo "no Go" >"$work/plugin.log"; return 1; }
  mkdir -p "$plugins" "$work/go"
  GOFLAGS=-buildvcs=false GOPATH=$work/go GOCACHE=$work/go/cache GOBIN=$work/go/bin \
    nice go install "github.com/docker/compose/v2/cmd@$compose_v2" >"$work/plugin.log" 2>&1 || return
  mv "$work/go/bin/cmd" "$plugins/docker-compose"
  chmod -R u+w "$work/go" && rm -rf "$work/go"
}

# standin_base: the Debian that all of them are made of.
standin_base() {
  local root=$work/debian
  docker image inspect fraud-detection-standin/debian >/dev/null 2>&1 && return
  rm -rf "$root"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$work/debootstrap.log" ||
    { tail "$work/debootstrap.log"; return 1; }
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
  fi
  [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | docker import - fraud-detection-standin/debian >/dev/null
  rm -rf "$root"
}

# standin TARGET TAG: see that there is an image TAG. The official one if it can be had; on our own
# engine nobody tries, as it would only stand in the way of a run without network.
standin() {
  local began=$SECONDS
  docker image inspect "$2" >/dev/null 2>&1 && return
  [ -n "$own" ] || ! timeout 900 docker pull --quiet "$2" >/dev/null 2>&1 || return 0
  standin_base
  DOCKER_BUILDKIT=1 docker build --quiet --target "$1" --tag "$2" "$work/context" >/dev/null
  built+=("$2")
  echo "compose: stand-in for $2 built in $((SECONDS - began)) s"
}

standins_build() {
  local context=$work/context
  rm -rf "$context"
  cp -r tests/compose/standins "$context"
  cp local/templates/{log4j2,logback}.xml "$context"
  cp -rl .local/lib/{kafka,registry,cassandra} "$context"
  standin python "$PYTHON_IMAGE"
  standin maven "$MAVEN_IMAGE"
  standin cp-kafka "confluentinc/cp-kafka:$CP_VERSION"
  standin cp-kafka-connect "confluentinc/cp-kafka-connect:$CP_VERSION"
  standin cp-schema-registry "confluentinc/cp-schema-registry:$CP_VERSION"
  standin cassandra "$CASSANDRA_IMAGE"
  rm -rf "$context"
}

# standins_remove: on an engine that others use, no false tag stays.
standins_remove() {
  [ ${#built[@]} = 0 ] || docker rmi --force "${built[@]}" fraud-detection-standin/debian >/dev/null
}
