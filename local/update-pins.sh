#!/usr/bin/env bash
# Renews the pins: requirements.txt of each service from its requirements.in (all of them agree on
# every version), and the SHA-256 of the jars from the POMs. Needs uv: pip install uv.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

inputs=(connectors producer flask spark local tests)
compile=(uv pip compile --quiet --python-version 3.11 --python-platform linux
  --no-annotate --no-header --no-emit-index-url --no-config --upgrade)
"${compile[@]}" "${inputs[@]/%//requirements.in}" -o "$work/constraints.txt"
for service in "${inputs[@]}"; do
  "${compile[@]}" --generate-hashes -c "$work/constraints.txt" \
    "$service/requirements.in" -o "$work/$service.txt"
  { echo "# Made by \`make update-pins\` from requirements.in."; cat "$work/$service.txt"; } \
    >"$service/requirements.txt"
done

. local/jars.sh
fetch_jars "$work/lib"
jar_sums "$work/lib" kafka registry cassandra plugins >local/jars.sha256
jar_sums "$work/lib/spark" . >spark/jars.sha256
