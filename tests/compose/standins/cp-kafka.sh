#!/usr/bin/env bash
set -euo pipefail
. /etc/confluent/docker/confluent.sh

require CLUSTER_ID KAFKA_PROCESS_ROLES KAFKA_NODE_ID KAFKA_LISTENERS KAFKA_ADVERTISED_LISTENERS \
  KAFKA_CONTROLLER_QUORUM_VOTERS KAFKA_CONTROLLER_LISTENER_NAMES
export KAFKA_LOG_DIRS=${KAFKA_LOG_DIRS:-/var/lib/kafka/data}
properties KAFKA_ >/etc/kafka/kafka.properties

read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx1g}"
jvm=("${heap[@]}" -XX:+UseG1GC -Dlog4j2.configurationFile=/etc/confluent/docker/log4j2.xml
  -cp '/usr/share/java/kafka/*')
[ -e "$KAFKA_LOG_DIRS/meta.properties" ] ||
  java -XX:TieredStopAtLevel=1 "${jvm[@]}" kafka.tools.StorageTool format \
    --cluster-id "$CLUSTER_ID" --config /etc/kafka/kafka.properties
exec java "${jvm[@]}" kafka.Kafka /etc/kafka/kafka.properties
