#!/usr/bin/env bash
# The containers for real: docker-compose.yml and our Dockerfiles, unchanged, on an engine. Uses the
# engine that answers; with CI=true it installs and starts one of its own, and stops it at the end.
# Images that cannot be pulled are stood in for (standins.sh). CHAOS=5: as many starts in random
# order. Arguments go to pytest. Downloads and images stay in .local/compose for the next run.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/.local/compose
mkdir -p "$work"
. tests/compose/engine.sh
. tests/compose/standins.sh
set -a
. ./.env
export TAG=test COMPOSE_PROJECT_NAME=fraud-detection-test
set +a

own=
finish() {
  local status=$?
  trap - EXIT INT TERM
  [ -z "$own" ] && standins_remove
  if [ -n "$own" ] && ! engine_stop; then
    echo "compose: the engine left something behind"
    status=1
  fi
  exit "$status"
}

if ! engine_answers; then
  if [ "${CI:-}" != true ]; then
    echo "SKIPPED test-compose: no Docker engine answers; CI=true lets it start one of its own"
    exit 0
  fi
  [ "$(id -u)" = 0 ] || { echo "compose: only root can start an engine"; exit 1; }
  engine_install
  own=1
  trap finish EXIT INT TERM
  # What the engine needs of the machine (namespaces, an overlay) is not ours to test.
  engine_start || { echo "SKIPPED test-compose: the engine does not run on this machine"; exit 0; }
else
  trap finish EXIT INT TERM
fi

plugin_build & # mostly waits for the network, as do the images
standins_build
wait $! || echo "compose: no v2 plugin, see $work/plugin.log"
docker-compose version --short >/dev/null 2>&1 || echo "compose: docker-compose 1.29 is not here"
.venv/bin/python -m pytest tests/compose "$@"
