# shellcheck shell=bash
# Builds the stand-ins for the official images; read by run.sh. They hold this machine's
# certificates and pip settings, so that the builds of our own images reach the same servers as the
# machine does: made on each machine, published by none.

# standins_base: the Debian that all of them are made of.
standins_base() {
  local root=$work/debian
  docker image inspect fraud-detection-standin/debian >/dev/null 2>&1 && return
  rm -rf "$root"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$work/debootstrap.log" ||
    { tail "$work/debootstrap.log"; return 1; }
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null
  fi
  [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | docker import - fraud-detection-standin/debian >/dev/null
  rm -rf "$root"
}

# standin TARGET TAG: build one, unless the image is there already (perhaps the official one).
standin() {
  docker image inspect "$2" >/dev/null 2>&1 && return
  local began=$SECONDS
  DOCKER_BUILDKIT=1 docker build --quiet --target "$1" --tag "$2" "$work/context" >/dev/null
  echo "compose: stand-in $2 built in $((SECONDS - began)) s"
}

standins_build() {
  local context=$work/context
  standins_base
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
