# Functions that fetch and check the jars; read by setup.sh and update-pins.sh.

# fetch_jars FOLDER: fill FOLDER/{kafka,registry,cassandra,spark,plugins} with Maven.
fetch_jars() {
  mvn --batch-mode --quiet --no-transfer-progress -T2 -f local/pom.xml package -DskipTests \
    -Dlib.dir="$1"
  mkdir -p "$1/plugins"
  cp -r connectors/sink/target/plugin "$1/plugins/cassandra-sink"
}

# jar_sums FOLDER SUBFOLDER...: the SHA-256 of every downloaded archive, sorted by name.
jar_sums() {
  (cd "$1" && shift && find "$@" -type f ! -name 'connect-cassandra-sink-*' | sed 's|^\./||' |
    LC_ALL=C sort | xargs sha256sum)
}

# check_jars FOLDER: fail unless FOLDER holds exactly the pinned archives.
check_jars() {
  jar_sums "$1" kafka registry cassandra plugins | diff local/jars.sha256 - &&
    jar_sums "$1/spark" . | diff spark/jars.sha256 -
}
