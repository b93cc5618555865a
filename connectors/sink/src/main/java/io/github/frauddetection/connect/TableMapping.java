package io.github.frauddetection.connect;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.kafka.connect.sink.SinkRecord;

/** One table of the sink: its columns and, in the same order, what fills them. */
record TableMapping(String table, List<String> columns, List<Source> sources) {
  private static final Pattern IDENTIFIER = Pattern.compile("[a-z][a-z0-9_]{0,47}");

  /**
   * Reads {@code column=source, column=source, ...}.
   *
   * @throws IllegalArgumentException with a message for people
   */
  static TableMapping parse(String table, String mapping) {
    List<String> columns = new ArrayList<>();
    List<Source> sources = new ArrayList<>();
    Set<String> seen = new HashSet<>();
    for (String pair : mapping.split(",")) {
      String[] sides = pair.split("=", 2);
      String column = sides[0].strip();
      if (sides.length != 2 || !isIdentifier(column)) {
        throw new IllegalArgumentException("'" + pair.strip() + "' is not column=source");
      }
      if (!seen.add(column)) {
        throw new IllegalArgumentException("column '" + column + "' is there twice");
      }
      String key = sides[1].strip();
      sources.add(
          Source.named(key)
              .orElseThrow(
                  () ->
                      new IllegalArgumentException(
                          "unknown source '" + key + "'; known are " + Source.names())));
      columns.add(column);
    }
    return new TableMapping(table, List.copyOf(columns), List.copyOf(sources));
  }

  /** Tells whether {@code name} needs no quotes in CQL, in lower case. */
  static boolean isIdentifier(String name) {
    return IDENTIFIER.matcher(name).matches();
  }

  /** Returns the CQL that upserts one row. */
  String insert(String keyspace) {
    String markers = String.join(", ", Collections.nCopies(columns.size(), "?"));
    return "INSERT INTO %s.%s (%s) VALUES (%s)"
        .formatted(keyspace, table, String.join(", ", columns), markers);
  }

  /** Returns the values of the row, in the order of the columns. */
  Object[] row(SinkRecord record, Transaction transaction) {
    return sources.stream().map(source -> source.of(record, transaction)).toArray();
  }
}
