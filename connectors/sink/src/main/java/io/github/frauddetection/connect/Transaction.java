package io.github.frauddetection.connect;

import java.util.Date;
import java.util.Optional;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;

/** One decoded transaction of the contract {@code schema.avsc}; its timestamp in ms UTC. */
record Transaction(
    String transactionId,
    long timestampMs,
    double amount,
    String senderAccount,
    String receiverAccount,
    String type,
    String status) {

  /** Returns empty when {@code value} is null or lacks a field of the contract. */
  static Optional<Transaction> from(Object value) {
    if (value instanceof Struct struct
        && field(struct, "transaction_id") instanceof String transactionId
        && milliseconds(field(struct, "transaction_timestamp")) instanceof Long timestampMs
        && field(struct, "transaction_amount") instanceof Double amount
        && field(struct, "sender_account") instanceof String senderAccount
        && field(struct, "receiver_account") instanceof String receiverAccount
        && field(struct, "transaction_type") instanceof String type
        && field(struct, "transaction_status") instanceof String status) {
      return Optional.of(
          new Transaction(
              transactionId, timestampMs, amount, senderAccount, receiverAccount, type, status));
    }
    return Optional.empty();
  }

  private static Object field(Struct struct, String name) {
    Field field = struct.schema().field(name);
    return field == null ? null : struct.get(field);
  }

  /** Avro ignores logical types when it compares schemas, so a plain long is the same field. */
  private static Object milliseconds(Object value) {
    return value instanceof Date date ? (Long) date.getTime() : value;
  }
}
