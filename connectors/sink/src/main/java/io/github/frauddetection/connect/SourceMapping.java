package io.github.frauddetection.connect;

import java.math.BigDecimal;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;

/**
 * How a record of the topic becomes a transaction, as {@code common/pipeline/source.py} says: where
 * each field stands, and the units of amount and time.
 */
final class SourceMapping {
  static final String TYPE = "transaction_type";
  static final String STATUS = "transaction_status";

  /** The fields of a transaction; only {@link #TYPE} and {@link #STATUS} may have no path. */
  private static final String[] FIELDS = {
    "transaction_id",
    "transaction_timestamp",
    "transaction_amount",
    "sender_account",
    "receiver_account",
    TYPE,
    STATUS
  };

  private static final Pattern PATH = Pattern.compile("[A-Za-z_]\\w*(\\.[A-Za-z_]\\w*)*");

  private final Map<String, String[]> paths;
  private final TimeFormat timeFormat;
  private final double amountDivisor;
  private final ValueMapping types;
  private final ValueMapping statuses;

  /** Replaces their values by ours; {@code byDefault} stands for none. Unknown values stay. */
  record ValueMapping(Map<String, String> ours, String byDefault) {
    String of(String theirs) {
      return theirs == null ? byDefault : ours.getOrDefault(theirs, theirs);
    }
  }

  SourceMapping(
      Map<String, String> fields,
      TimeFormat timeFormat,
      double amountDivisor,
      ValueMapping types,
      ValueMapping statuses) {
    this.paths = paths(fields);
    this.timeFormat = timeFormat;
    this.amountDivisor = amountDivisor;
    this.types = types;
    this.statuses = statuses;
  }

  /**
   * Reads {@code left=right, left=right, ...}; an empty text has no pairs.
   *
   * @throws IllegalArgumentException with a message for people
   */
  static Map<String, String> pairs(String text) {
    Map<String, String> pairs = new HashMap<>();
    for (String pair : text.isBlank() ? new String[0] : text.split(",")) {
      String[] sides = pair.split("=", 2);
      if (sides.length != 2) {
        throw new IllegalArgumentException("'" + pair.strip() + "' is not left=right");
      }
      pairs.put(sides[0].strip(), sides[1].strip());
    }
    return pairs;
  }

  private static Map<String, String[]> paths(Map<String, String> fields) {
    Map<String, String[]> paths = new HashMap<>();
    for (String field : FIELDS) {
      String path = fields.getOrDefault(field, "");
      boolean isOptional = field.equals(TYPE) || field.equals(STATUS);
      if (PATH.matcher(path).matches()) {
        paths.put(field, path.split("\\."));
      } else if (!path.isEmpty() || !isOptional) {
        throw new IllegalArgumentException(field + "='" + path + "' names no field");
      }
    }
    return paths;
  }

  /** Returns empty when a value is missing, or not of a type that the mapping can read. */
  Optional<Transaction> transaction(Object value) {
    if (!(value instanceof Struct struct)) {
      return Optional.empty();
    }
    try {
      String transactionId = text(struct, "transaction_id");
      Long timestampMs = timeFormat.milliseconds(at(struct, "transaction_timestamp"));
      Double amount = number(at(struct, "transaction_amount"));
      String sender = text(struct, "sender_account");
      String receiver = text(struct, "receiver_account");
      String type = types.of(text(struct, TYPE));
      String status = statuses.of(text(struct, STATUS));
      if (transactionId == null
          || timestampMs == null
          || amount == null
          || sender == null
          || receiver == null) {
        return Optional.empty();
      }
      return Optional.of(
          new Transaction(
              transactionId, timestampMs, amount / amountDivisor, sender, receiver, type, status));
    } catch (MisfitException misfit) {
      return Optional.empty();
    }
  }

  /** Returns null for a null on the way, and for a field without a path. */
  private Object at(Struct struct, String field) {
    Object value = struct;
    for (String step : paths.getOrDefault(field, new String[0])) {
      if (value == null) {
        return null;
      }
      if (!(value instanceof Struct record)) {
        throw new MisfitException();
      }
      Field child = record.schema().field(step);
      if (child == null) {
        throw new MisfitException();
      }
      value = record.get(child);
    }
    return value == struct ? null : value;
  }

  private String text(Struct struct, String field) {
    Object value = at(struct, field);
    if (value == null || value instanceof String) {
      return (String) value;
    }
    return String.valueOf(integer(value));
  }

  private static Double number(Object value) {
    if (value == null || value instanceof Double) {
      return (Double) value;
    }
    if (value instanceof Float || value instanceof BigDecimal) {
      return ((Number) value).doubleValue();
    }
    return (double) integer(value);
  }

  /** Avro has int and long; Connect makes smaller ones of them when their schema says so. */
  static long integer(Object value) {
    if (value instanceof Long
        || value instanceof Integer
        || value instanceof Short
        || value instanceof Byte) {
      return ((Number) value).longValue();
    }
    throw new MisfitException();
  }
}
