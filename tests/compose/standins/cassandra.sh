#!/usr/bin/env bash
# The entrypoint and bin/cassandra of the official image in one.
set -euo pipefail
[ "${1:-}" = cassandra ] || exec "$@"

address=$(hostname --ip-address | cut -d ' ' -f 1)
conf=$CASSANDRA_CONF/cassandra.yaml
# In place, as the folder itself may not be ours.
edited=$(sed -e "s/^\(listen_address\|broadcast_rpc_address\):.*/\1: $address/" \
  -e "s/^cluster_name:.*/cluster_name: ${CASSANDRA_CLUSTER_NAME:-Test Cluster}/" \
  -e "s/- seeds:.*/- seeds: $address/" "$conf")
echo "$edited" >"$conf"

options=()
for package in java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch \
  java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry \
  java.rmi/sun.rmi.server java.sql/java.sql java.rmi/sun.rmi.transport \
  java.rmi/sun.rmi.transport.tcp jdk.attach/sun.tools.attach \
  jdk.compiler/com.sun.tools.javac.file jdk.unsupported/sun.misc; do
  options+=("--add-exports=$package=ALL-UNNAMED")
done
for package in java.base/java.io java.base/java.lang java.base/java.lang.module java.base/java.nio \
  java.base/java.lang.reflect java.base/java.util java.base/java.util.concurrent \
  java.base/java.util.concurrent.atomic java.base/jdk.internal.loader \
  java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.ref \
  java.base/jdk.internal.reflect java.base/jdk.internal.util.jar java.base/sun.nio.ch \
  jdk.management/com.sun.management.internal; do
  options+=("--add-opens=$package=ALL-UNNAMED")
done
# shellcheck disable=SC2086
exec java -Xmx"${MAX_HEAP_SIZE:-1G}" -XX:+UseG1GC -cp '/opt/cassandra/lib/*' "${options[@]}" \
  -Dcassandra.config="file://$conf" -Dcassandra.storagedir=/var/lib/cassandra \
  -Dlogback.configurationFile="$CASSANDRA_CONF/logback.xml" \
  -Djdk.attach.allowAttachSelf=true -Dio.netty.tryReflectionSetAccessible=true \
  ${JVM_EXTRA_OPTS:-} org.apache.cassandra.service.CassandraDaemon
