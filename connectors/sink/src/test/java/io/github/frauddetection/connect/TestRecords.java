package io.github.frauddetection.connect;

import java.util.Date;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.data.Timestamp;
import org.apache.kafka.connect.sink.SinkRecord;

/** Records and a configuration that are valid until a test changes something. */
final class TestRecords {
  static final long ARRIVAL_MS = 1_735_689_600_500L; // 2025-01-01T00:00:00.500Z

  static final Schema SCHEMA =
      SchemaBuilder.struct()
          .field("transaction_id", Schema.STRING_SCHEMA)
          .field("transaction_timestamp", Timestamp.SCHEMA)
          .field("transaction_amount", Schema.FLOAT64_SCHEMA)
          .field("sender_account", Schema.STRING_SCHEMA)
          .field("receiver_account", Schema.STRING_SCHEMA)
          .field("transaction_type", Schema.STRING_SCHEMA)
          .field("transaction_status", Schema.STRING_SCHEMA)
          .build();

  private TestRecords() {}

  static Struct value() {
    return new Struct(SCHEMA)
        .put("transaction_id", "id-1")
        .put("transaction_timestamp", new Date(ARRIVAL_MS - 500))
        .put("transaction_amount", 12.5)
        .put("sender_account", "alice")
        .put("receiver_account", "bob")
        .put("transaction_type", "transfer")
        .put("transaction_status", "completed");
  }

  static SinkRecord record(long offset, Object value) {
    return new SinkRecord(
        "transactions",
        1,
        Schema.STRING_SCHEMA,
        "alice",
        SCHEMA,
        value,
        offset,
        ARRIVAL_MS,
        TimestampType.CREATE_TIME);
  }

  static Map<String, String> config() {
    Map<String, String> config = new HashMap<>();
    config.put("cassandra.contact.points", "127.0.0.1");
    config.put("cassandra.datacenter", "datacenter1");
    config.put("cassandra.keyspace", "fraud");
    config.put("tables", "by_id, by_day");
    config.put("table.by_id.mapping", "id=value.transaction_id, kafka_offset=kafka.offset");
    config.put("table.by_day.mapping", "day=day(value.transaction_timestamp)");
    config.put(
        "source.mapping",
        "transaction_id=transaction_id, transaction_timestamp=transaction_timestamp,"
            + " transaction_amount=transaction_amount, sender_account=sender_account,"
            + " receiver_account=receiver_account, transaction_type=transaction_type,"
            + " transaction_status=transaction_status");
    config.put("source.time.format", "epoch_ms");
    config.put("source.amount.divisor", "1");
    config.put("source.type.values", "");
    config.put("source.status.values", "");
    config.put("source.default.type", "payment");
    config.put("source.default.status", "completed");
    config.put("rules.transaction.types", "transfer,payment");
    config.put("rules.transaction.statuses", "completed,failed");
    config.put("rules.max.id.bytes", "64");
    config.put("rules.max.amount", "1000000000000.0");
    config.put("rules.future.tolerance.ms", "10000");
    config.put("rules.max.age.ms", "3456000000");
    return config;
  }
}
