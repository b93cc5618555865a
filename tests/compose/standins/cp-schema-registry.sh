#!/usr/bin/env bash
set -euo pipefail
. /etc/confluent/docker/confluent.sh

require SCHEMA_REGISTRY_HOST_NAME SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS
# Confluent's image takes it for a link that Docker made, and refuses to start.
[ -z "${SCHEMA_REGISTRY_PORT:-}" ] || { echo "SCHEMA_REGISTRY_PORT is not allowed"; exit 1; }
nginx -c /etc/confluent/docker/nginx.conf
# Schemas in Kafka, as Confluent's registry has them. Canonical hash: a schema that differs in blanks
# only keeps its id.
# shellcheck disable=SC2086
exec java ${SCHEMA_REGISTRY_HEAP_OPTS:--Xmx512m} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
  -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port=8080 \
  -Dapicurio.storage.kind=kafkasql \
  -Dapicurio.kafkasql.bootstrap.servers="$SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS" \
  -Dapicurio.ccompat.use-canonical-hash=true \
  -jar /usr/share/java/registry/apicurio-registry-app-*-runner.jar
