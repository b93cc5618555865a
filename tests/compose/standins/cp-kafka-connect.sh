#!/usr/bin/env bash
set -euo pipefail
. /etc/confluent/docker/confluent.sh

require CONNECT_BOOTSTRAP_SERVERS CONNECT_GROUP_ID CONNECT_CONFIG_STORAGE_TOPIC \
  CONNECT_OFFSET_STORAGE_TOPIC CONNECT_STATUS_STORAGE_TOPIC CONNECT_KEY_CONVERTER \
  CONNECT_VALUE_CONVERTER CONNECT_REST_ADVERTISED_HOST_NAME
export CONNECT_LISTENERS=http://0.0.0.0:${CONNECT_REST_PORT:-8083}
properties CONNECT_ >/etc/kafka-connect/kafka-connect.properties
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx2g} -XX:+UseG1GC -cp '/usr/share/java/kafka/*' \
  -Dlog4j2.configurationFile=/etc/confluent/docker/log4j2.xml \
  org.apache.kafka.connect.cli.ConnectDistributed /etc/kafka-connect/kafka-connect.properties
