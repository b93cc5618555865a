package io.github.frauddetection.connect;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.LambdaValidator;
import org.apache.kafka.common.config.ConfigDef.NonEmptyString;
import org.apache.kafka.common.config.ConfigDef.Range;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.common.config.ConfigDef.ValidString;
import org.apache.kafka.common.config.ConfigDef.Validator;
import org.apache.kafka.common.config.ConfigException;

/** The validated configuration of the connector and its tasks. */
final class SinkConfig extends AbstractConfig {
  static final String CONTACT_POINTS = "cassandra.contact.points";
  static final String PORT = "cassandra.port";
  static final String DATACENTER = "cassandra.datacenter";
  static final String USERNAME = "cassandra.username";
  static final String PASSWORD = "cassandra.password";
  static final String PASSWORD_FILE = "cassandra.password.file";
  static final String KEYSPACE = "cassandra.keyspace";
  static final String REQUEST_TIMEOUT_MS = "cassandra.request.timeout.ms";
  static final String MAX_IN_FLIGHT = "max.in.flight";
  static final String TABLES = "tables";
  static final String SOURCE_MAPPING = "source.mapping";
  static final String TIME_FORMAT = "source.time.format";
  static final String AMOUNT_DIVISOR = "source.amount.divisor";
  static final String TYPE_VALUES = "source.type.values";
  static final String STATUS_VALUES = "source.status.values";
  static final String DEFAULT_TYPE = "source.default.type";
  static final String DEFAULT_STATUS = "source.default.status";
  static final String TYPES = "rules.transaction.types";
  static final String STATUSES = "rules.transaction.statuses";
  static final String MAX_ID_BYTES = "rules.max.id.bytes";
  static final String MAX_AMOUNT = "rules.max.amount";
  static final String FUTURE_TOLERANCE_MS = "rules.future.tolerance.ms";
  static final String MAX_AGE_MS = "rules.max.age.ms";

  private static final Validator NOT_EMPTY_LIST =
      LambdaValidator.with(
          (name, value) -> {
            List<?> items = (List<?>) value;
            if (items == null || items.isEmpty() || items.contains("")) {
              throw new ConfigException(name, value, "needs at least one entry, none empty");
            }
          },
          () -> "non-empty list");

  private static final Validator IDENTIFIER =
      LambdaValidator.with(
          (name, value) -> {
            if (value == null || !TableMapping.isIdentifier((String) value)) {
              throw new ConfigException(name, value, "must be a CQL name in lower case");
            }
          },
          () -> "CQL name in lower case");

  private static final Validator ABOVE_ZERO =
      LambdaValidator.with(
          (name, value) -> {
            if (value == null || !((Double) value > 0) || ((Double) value).isInfinite()) {
              throw new ConfigException(name, value, "must be a finite number above 0");
            }
          },
          () -> "finite number above 0");

  static final ConfigDef DEFINITION =
      new ConfigDef()
          .define(
              CONTACT_POINTS,
              Type.LIST,
              ConfigDef.NO_DEFAULT_VALUE,
              NOT_EMPTY_LIST,
              Importance.HIGH,
              "Hosts of Cassandra to connect to first, comma separated.")
          .define(PORT, Type.INT, 9042, Range.between(1, 65535), Importance.HIGH, "CQL port.")
          .define(
              DATACENTER,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              new NonEmptyString(),
              Importance.HIGH,
              "Local data centre; rows are written with LOCAL_QUORUM.")
          .define(USERNAME, Type.STRING, "", Importance.MEDIUM, "Login; empty for none.")
          .define(PASSWORD, Type.PASSWORD, "", Importance.MEDIUM, "Password of the login.")
          .define(
              PASSWORD_FILE,
              Type.STRING,
              "",
              Importance.MEDIUM,
              "File that holds the password; read at each connect, wins over " + PASSWORD + ".")
          .define(
              KEYSPACE,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              IDENTIFIER,
              Importance.HIGH,
              "Keyspace of the tables.")
          .define(
              REQUEST_TIMEOUT_MS,
              Type.INT,
              // Must stay far below max.poll.interval.ms (5 min), or a hung Cassandra would also
              // cost the task its partitions.
              10_000,
              Range.between(100, 60_000),
              Importance.LOW,
              "A write that takes longer counts as failed and is repeated.")
          .define(
              MAX_IN_FLIGHT,
              Type.INT,
              // 256 or 1024 made little difference; one connection carries up to 1024.
              512,
              Range.between(1, 1024),
              Importance.LOW,
              "Unacknowledged writes of a task at most.")
          .define(
              TABLES,
              Type.LIST,
              ConfigDef.NO_DEFAULT_VALUE,
              NOT_EMPTY_LIST,
              Importance.HIGH,
              "Tables that every record is written to; table.<name>.mapping says how.")
          .define(
              SOURCE_MAPPING,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              new NonEmptyString(),
              Importance.HIGH,
              "Where each field of a transaction stands in the record: field=path, ...")
          .define(
              TIME_FORMAT,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              ValidString.in("epoch_s", "epoch_ms", "epoch_us", "iso_8601"),
              Importance.HIGH,
              "How the record writes the moment of the transaction.")
          .define(
              AMOUNT_DIVISOR,
              Type.DOUBLE,
              ConfigDef.NO_DEFAULT_VALUE,
              ABOVE_ZERO,
              Importance.HIGH,
              "What the record's amount is divided by: 100 when it is in cents.")
          .define(
              TYPE_VALUES,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              Importance.MEDIUM,
              "Their types and what stands for them: theirs=ours, ...; may be empty.")
          .define(
              STATUS_VALUES,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              Importance.MEDIUM,
              "Their statuses and what stands for them: theirs=ours, ...; may be empty.")
          .define(
              DEFAULT_TYPE,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              Importance.MEDIUM,
              "Type of a transaction that has none.")
          .define(
              DEFAULT_STATUS,
              Type.STRING,
              ConfigDef.NO_DEFAULT_VALUE,
              Importance.MEDIUM,
              "Status of a transaction that has none.")
          .define(
              TYPES,
              Type.LIST,
              ConfigDef.NO_DEFAULT_VALUE,
              NOT_EMPTY_LIST,
              Importance.HIGH,
              "Transaction types that are accepted.")
          .define(
              STATUSES,
              Type.LIST,
              ConfigDef.NO_DEFAULT_VALUE,
              NOT_EMPTY_LIST,
              Importance.HIGH,
              "Transaction statuses that are accepted.")
          .define(
              MAX_ID_BYTES,
              Type.INT,
              ConfigDef.NO_DEFAULT_VALUE,
              Range.atLeast(1),
              Importance.HIGH,
              "Longest transaction id or account, in bytes of UTF-8.")
          .define(
              MAX_AMOUNT,
              Type.DOUBLE,
              ConfigDef.NO_DEFAULT_VALUE,
              ABOVE_ZERO,
              Importance.HIGH,
              "Largest amount.")
          .define(
              FUTURE_TOLERANCE_MS,
              Type.LONG,
              ConfigDef.NO_DEFAULT_VALUE,
              Range.atLeast(0),
              Importance.HIGH,
              "How far a transaction may lie after its arrival.")
          .define(
              MAX_AGE_MS,
              Type.LONG,
              ConfigDef.NO_DEFAULT_VALUE,
              Range.atLeast(0),
              Importance.HIGH,
              "How far a transaction may lie before its arrival.");

  private final List<TableMapping> mappings = new ArrayList<>();
  private final SourceMapping source;

  /**
   * Checks everything, the mappings included.
   *
   * @throws ConfigException naming the key and what is allowed
   */
  SinkConfig(Map<String, String> properties) {
    super(DEFINITION, properties, false);
    for (String table : getList(TABLES)) {
      mappings.add(mapping(table, properties));
    }
    source = readSource();
  }

  private SourceMapping readSource() {
    try {
      return new SourceMapping(
          SourceMapping.pairs(getString(SOURCE_MAPPING)),
          TimeFormat.valueOf(getString(TIME_FORMAT).toUpperCase(Locale.ROOT)),
          getDouble(AMOUNT_DIVISOR),
          values(TYPE_VALUES, DEFAULT_TYPE),
          values(STATUS_VALUES, DEFAULT_STATUS));
    } catch (IllegalArgumentException error) {
      throw new ConfigException("source.*: " + error.getMessage());
    }
  }

  private SourceMapping.ValueMapping values(String pairs, String byDefault) {
    return new SourceMapping.ValueMapping(
        SourceMapping.pairs(getString(pairs)), getString(byDefault));
  }

  private static TableMapping mapping(String table, Map<String, String> properties) {
    if (!TableMapping.isIdentifier(table)) {
      throw new ConfigException(TABLES, table, "must hold CQL names in lower case");
    }
    String key = "table." + table + ".mapping";
    String mapping = properties.get(key);
    if (mapping == null) {
      throw new ConfigException(TABLES, table, "needs the key " + key);
    }
    try {
      return TableMapping.parse(table, mapping);
    } catch (IllegalArgumentException error) {
      throw new ConfigException(TABLES, table, key + ": " + error.getMessage());
    }
  }

  List<TableMapping> mappings() {
    return mappings;
  }

  SourceMapping source() {
    return source;
  }

  Rules rules() {
    return new Rules(
        Set.copyOf(getList(TYPES)),
        Set.copyOf(getList(STATUSES)),
        getInt(MAX_ID_BYTES),
        getDouble(MAX_AMOUNT),
        getLong(FUTURE_TOLERANCE_MS),
        getLong(MAX_AGE_MS));
  }
}
