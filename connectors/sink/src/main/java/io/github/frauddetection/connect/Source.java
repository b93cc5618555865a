package io.github.frauddetection.connect;

import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.BiFunction;
import org.apache.kafka.connect.sink.SinkRecord;

/** What a column can be filled with: its name in a mapping, and how to get it from a record. */
enum Source {
  TRANSACTION_ID("value.transaction_id", (record, value) -> value.transactionId()),
  TRANSACTION_TIMESTAMP(
      "value.transaction_timestamp", (record, value) -> Instant.ofEpochMilli(value.timestampMs())),
  TRANSACTION_AMOUNT("value.transaction_amount", (record, value) -> value.amount()),
  SENDER_ACCOUNT("value.sender_account", (record, value) -> value.senderAccount()),
  RECEIVER_ACCOUNT("value.receiver_account", (record, value) -> value.receiverAccount()),
  TRANSACTION_TYPE("value.transaction_type", (record, value) -> value.type()),
  TRANSACTION_STATUS("value.transaction_status", (record, value) -> value.status()),
  DAY("day(value.transaction_timestamp)", (record, value) -> utcDay(value.timestampMs())),
  KAFKA_PARTITION("kafka.partition", (record, value) -> record.kafkaPartition()),
  KAFKA_OFFSET("kafka.offset", (record, value) -> record.kafkaOffset()),
  KAFKA_TIMESTAMP("kafka.timestamp", (record, value) -> Instant.ofEpochMilli(record.timestamp()));

  private final String key;
  private final BiFunction<SinkRecord, Transaction, Object> extractor;

  Source(String key, BiFunction<SinkRecord, Transaction, Object> extractor) {
    this.key = key;
    this.extractor = extractor;
  }

  static Optional<Source> named(String key) {
    return Arrays.stream(values()).filter(source -> source.key.equals(key)).findFirst();
  }

  static String names() {
    return String.join(", ", Arrays.stream(values()).map(source -> source.key).toList());
  }

  Object of(SinkRecord record, Transaction transaction) {
    return extractor.apply(record, transaction);
  }

  private static LocalDate utcDay(long timestampMs) {
    return LocalDate.ofInstant(Instant.ofEpochMilli(timestampMs), ZoneOffset.UTC);
  }
}
