package io.github.frauddetection.connect;

import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.Set;

/**
 * The record rules, in the order and with the reasons of {@code common/pipeline/records.py}, which
 * is also where the constants come from. No rule reads the wall clock.
 */
record Rules(
    Set<String> types,
    Set<String> statuses,
    int maxIdBytes,
    double maxAmount,
    long futureToleranceMs,
    long maxAgeMs) {

  /**
   * Returns why a record is rejected, or empty if it is valid.
   *
   * @param transaction empty when the record could not be mapped to one
   * @param arrivalMs timestamp of the Kafka record
   */
  Optional<RejectedRecordException> rejection(Optional<Transaction> transaction, long arrivalMs) {
    if (transaction.isEmpty()) {
      return Optional.of(
          new RejectedRecordException("undecodable", "null, or without what source.mapping names"));
    }
    return Optional.ofNullable(firstBroken(transaction.get(), arrivalMs));
  }

  /** Returns null if no rule is broken. */
  private RejectedRecordException firstBroken(Transaction transaction, long arrivalMs) {
    if (!isId(transaction.transactionId())) {
      return new RejectedRecordException("invalid_transaction_id", idLimits("transaction_id"));
    }
    if (!isId(transaction.senderAccount())) {
      return new RejectedRecordException("invalid_account", idLimits("sender_account"));
    }
    if (!isId(transaction.receiverAccount())) {
      return new RejectedRecordException("invalid_account", idLimits("receiver_account"));
    }
    if (transaction.senderAccount().equals(transaction.receiverAccount())) {
      return new RejectedRecordException("same_account", "sender and receiver are the same");
    }
    double amount = transaction.amount();
    if (!(amount > 0 && amount <= maxAmount)) { // false for NaN as well
      return new RejectedRecordException(
          "invalid_amount", "must be finite, above 0 and at most " + maxAmount);
    }
    if (!types.contains(transaction.type())) {
      return new RejectedRecordException("unknown_type", "must be one of " + sorted(types));
    }
    if (!statuses.contains(transaction.status())) {
      return new RejectedRecordException("unknown_status", "must be one of " + sorted(statuses));
    }
    if (transaction.timestampMs() > arrivalMs + futureToleranceMs) {
      return new RejectedRecordException(
          "future", "more than " + futureToleranceMs + " ms after its arrival");
    }
    if (transaction.timestampMs() < arrivalMs - maxAgeMs) {
      return new RejectedRecordException(
          "too_old", "more than " + maxAgeMs + " ms before its arrival");
    }
    return null;
  }

  private boolean isId(String text) {
    int bytes = text.getBytes(StandardCharsets.UTF_8).length;
    return 0 < bytes && bytes <= maxIdBytes && text.chars().noneMatch(Character::isISOControl);
  }

  private String idLimits(String field) {
    return field + " must have 1 to " + maxIdBytes + " bytes of UTF-8, no control character";
  }

  private static String sorted(Set<String> values) {
    return String.join(", ", values.stream().sorted().toList());
  }
}
