#!/usr/bin/env bash
# Sets the checkout up: Python packages in .venv, jars in .local/lib. Once that is done it only
# compares two stamps and needs no network. `setup.sh tests` adds what `make test` needs.
set -euo pipefail
cd "$(dirname "$0")/.."
. local/jars.sh

lib=.local/lib
requirements=({local,connectors,producer,flask,spark}/requirements.txt)
stamps=(.venv/.stamp)
if [ "${1:-}" = tests ]; then
  requirements+=(tests/requirements.txt)
  stamps+=(.venv/.stamp-tests)
fi

say() { echo "setup: $*" >&2; }

# A python3 may be a shim that does not run, too old, or without venv (python3-venv on Debian).
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 /usr/bin/python3 python3.{14,13,12,11}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# Cassandra 5.0 and Spark 3.5 both support 17, and nothing newer.
find_jdk() {
  local home
  for home in ${JAVA_HOME:-} "$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")" \
    /usr/lib/jvm/*; do
    if [ -x "$home/bin/javac" ] && grep -qs '^JAVA_VERSION="17' "$home/release"; then
      echo "$home"
      return
    fi
  done
  return 1
}

missing_packages() {
  if ! find_python >/dev/null; then
    if apt-cache show python3.11-venv >/dev/null 2>&1; then
      echo python3.11 python3.11-venv
    else
      echo python3 python3-venv
    fi
  fi
  find_jdk >/dev/null || echo openjdk-17-jdk-headless
  command -v mvn >/dev/null || echo maven
}

install_tools() {
  local packages
  packages=$(missing_packages | xargs)
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    packages=$(missing_packages | xargs) # again: what there is depends on the lists
    say "installing $packages"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages \
      >.local/setup-apt.log 2>&1 || fail apt "apt-get install $packages failed"
  else
    say "missing: $packages. Type this, then try again:"
    echo "  sudo apt-get update && sudo apt-get install -y $packages" >&2
    exit 1
  fi
  [ -z "$(missing_packages)" ] || {
    say "still missing: $(missing_packages | xargs)"
    exit 1
  }
}

fail() {
  say "$2; the end of .local/setup-$1.log:"
  tail -n 20 ".local/setup-$1.log" >&2
  exit 1
}

# Of the services' requirements, or with those of the tests for the second stamp.
python_stamp() {
  case $1 in
  *-tests) cat ./*/requirements.txt ;;
  *) cat ./{local,connectors,producer,flask,spark}/requirements.txt ;;
  esac | sha256sum
}

jars_stamp() {
  find local/pom.xml local/poms spark/pom.xml local/jars.sha256 spark/jars.sha256 \
    connectors/sink/pom.xml connectors/sink/src/main -type f -print0 |
    LC_ALL=C sort -z | xargs -0 cat | sha256sum
}

is_stamped() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

install_python() {
  local began=$SECONDS stamp
  # A venv whose Python has gone (a distribution upgrade) is made anew.
  .venv/bin/python -c '' 2>/dev/null || "$(find_python)" -m venv --clear .venv
  # setuptools first: it builds pyspark, which is served as source only. Everything else must be
  # a wheel: no foreign build script runs here.
  {
    .venv/bin/python -m pip install --require-hashes --only-binary :all: -r local/requirements.txt
    .venv/bin/python -m pip install --require-hashes --only-binary :all: --no-binary pyspark \
      --no-build-isolation "${requirements[@]/#/--requirement=}"
  } >.local/setup-python.log 2>&1 || fail python "the Python packages could not be installed"
  for stamp in "${stamps[@]}"; do python_stamp "$stamp" >"$stamp"; done
  say "Python packages ready after $((SECONDS - began)) s"
}

install_jars() {
  local began=$SECONDS
  rm -rf "$lib.new"
  JAVA_HOME=$(find_jdk) fetch_jars "$PWD/$lib.new" >.local/setup-jars.log 2>&1 ||
    fail jars "the jars could not be fetched or the sink not be built"
  check_jars "$lib.new" >>.local/setup-jars.log ||
    fail jars "a jar is not the pinned one (make update-pins renews the pins)"
  (cd "$lib.new/registry" && tar -xzf ./*.tar.gz && rm ./*.tar.gz)
  echo "$1" >"$lib.new/.stamp"
  rm -rf "$lib"
  mv "$lib.new" "$lib"
  say "jars ready after $((SECONDS - began)) s"
}

mkdir -p .local
exec 9>.local/setup.lock
flock 9 # two starts at once: the second finds everything done
wanted_jars=$(jars_stamp)
is_stamped "${stamps[-1]}" "$(python_stamp "${stamps[-1]}")" && .venv/bin/python -c '' 2>/dev/null &&
  has_python=1 || has_python=
is_stamped "$lib/.stamp" "$wanted_jars" && has_jars=1 || has_jars=
[ -n "$has_python" ] && [ -n "$has_jars" ] && exit 0

install_tools
say "downloading what is missing; this takes a few minutes once"
jobs=()
[ -n "$has_python" ] || { install_python & jobs+=($!); }
[ -n "$has_jars" ] || { install_jars "$wanted_jars" & jobs+=($!); }
status=0
for job in "${jobs[@]}"; do wait "$job" || status=1; done
exit $status
