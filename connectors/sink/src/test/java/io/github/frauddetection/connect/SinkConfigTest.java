package io.github.frauddetection.connect;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.LocalDate;
import java.util.Date;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SinkConfigTest {
  @Test
  void mappingsBecomeStatementsAndRows() {
    SinkConfig config = new SinkConfig(TestRecords.config());
    List<TableMapping> mappings = config.mappings();
    var value = TestRecords.value().put("transaction_timestamp", new Date(-1));
    var transaction = config.source().transaction(value).orElseThrow();
    var record = TestRecords.record(7, value);

    assertEquals(
        "INSERT INTO fraud.by_id (id, kafka_offset) VALUES (?, ?)",
        mappings.get(0).insert("fraud"));
    assertArrayEquals(new Object[] {"id-1", 7L}, mappings.get(0).row(record, transaction));
    // The day of a moment before 1970 must not be rounded towards zero.
    assertArrayEquals(
        new Object[] {LocalDate.of(1969, 12, 31)}, mappings.get(1).row(record, transaction));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          id=value.nonsense                          | unknown source 'value.nonsense'
          id                                         | not column=source
          Id=value.transaction_id                    | not column=source
          id=kafka.offset, id=value.transaction_id   | there twice
          """)
  void brokenMappingIsNamed(String mapping, String message) {
    assertTrue(tablesError("table.by_id.mapping", mapping).contains(message));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          source.mapping     | transaction_id                 | not left=right
          source.mapping     | transaction_id=id              | transaction_timestamp='' names no
          source.mapping     | transaction_id=a..b            | transaction_id='a..b' names no
          source.type.values | CARD                           | is not left=right
          """)
  void brokenSourceIsNamed(String key, String value, String message) {
    assertTrue(tablesError(key, value).contains(message), tablesError(key, value));
  }

  @Test
  void tableWithoutMappingIsNamed() {
    assertTrue(tablesError("tables", "by_id,more").contains("table.more.mapping"));
  }

  @ParameterizedTest
  @CsvSource({
    "cassandra.port, 0",
    "cassandra.contact.points, ''",
    "cassandra.keyspace, Fraud; DROP",
    "max.in.flight, 5000",
    "tables, ''",
    "rules.transaction.types, ''",
    "rules.max.amount, NaN",
    "rules.max.age.ms, soon",
    "source.time.format, epoch",
    "source.amount.divisor, 0",
  })
  void wrongValueIsRefused(String key, String value) {
    Map<String, String> config = TestRecords.config();
    config.put(key, value);
    ConfigException error = assertThrows(ConfigException.class, () -> new SinkConfig(config));
    assertTrue(error.getMessage().contains(key), error.getMessage());
  }

  @Test
  void missingRuleIsRefused() {
    Map<String, String> config = TestRecords.config();
    config.remove("rules.max.amount");
    assertThrows(ConfigException.class, () -> new SinkConfig(config));
  }

  @Test
  void passwordIsNotPrinted() {
    Map<String, String> config = TestRecords.config();
    config.put("cassandra.password", "hunter2");
    SinkConfig parsed = new SinkConfig(config);
    assertFalse(parsed.values().toString().contains("hunter2"));
  }

  /** What Connect's validation says about the key {@code tables} after a change. */
  private static String tablesError(String key, String value) {
    Map<String, String> config = TestRecords.config();
    config.put(key, value);
    return new CassandraSinkConnector()
        .validate(config).configValues().stream()
            .filter(configValue -> configValue.name().equals("tables"))
            .findFirst()
            .orElseThrow()
            .errorMessages()
            .toString();
  }
}
