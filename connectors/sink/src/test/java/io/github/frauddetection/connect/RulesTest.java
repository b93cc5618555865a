package io.github.frauddetection.connect;

import static io.github.frauddetection.connect.TestRecords.ARRIVAL_MS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.Date;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class RulesTest {
  private static final long MAX_AGE_MS = 3_456_000_000L;
  private static final SinkConfig CONFIG = new SinkConfig(TestRecords.config());
  private static final Rules RULES = CONFIG.rules();

  static Stream<Arguments> fields() {
    return Stream.of(
        Arguments.of("transaction_id", "", "invalid_transaction_id"),
        Arguments.of("transaction_id", "x".repeat(64), "valid"),
        Arguments.of("transaction_id", "x".repeat(65), "invalid_transaction_id"),
        Arguments.of("transaction_id", "é".repeat(32), "valid"),
        Arguments.of("transaction_id", "é".repeat(33), "invalid_transaction_id"),
        Arguments.of("sender_account", "", "invalid_account"),
        Arguments.of("receiver_account", "x".repeat(65), "invalid_account"),
        Arguments.of("transaction_id", "a\0b", "invalid_transaction_id"),
        Arguments.of("sender_account", "a\n", "invalid_account"),
        Arguments.of("receiver_account", "\u0085", "invalid_account"),
        Arguments.of("receiver_account", "a\u2028b", "valid"),
        Arguments.of("receiver_account", "alice", "same_account"),
        Arguments.of("transaction_amount", Double.NaN, "invalid_amount"),
        Arguments.of("transaction_amount", Double.POSITIVE_INFINITY, "invalid_amount"),
        Arguments.of("transaction_amount", Double.NEGATIVE_INFINITY, "invalid_amount"),
        Arguments.of("transaction_amount", 0.0, "invalid_amount"),
        Arguments.of("transaction_amount", -0.01, "invalid_amount"),
        Arguments.of("transaction_amount", 1e12, "valid"),
        Arguments.of("transaction_amount", 1e308, "invalid_amount"),
        Arguments.of("transaction_amount", Double.MIN_VALUE, "valid"),
        Arguments.of("transaction_type", "Transfer", "unknown_type"),
        Arguments.of("transaction_status", "", "unknown_status"),
        Arguments.of("transaction_timestamp", new Date(ARRIVAL_MS + 10_000), "valid"),
        Arguments.of("transaction_timestamp", new Date(ARRIVAL_MS + 10_001), "future"),
        Arguments.of("transaction_timestamp", new Date(Long.MAX_VALUE), "future"),
        Arguments.of("transaction_timestamp", new Date(ARRIVAL_MS - MAX_AGE_MS), "valid"),
        Arguments.of("transaction_timestamp", new Date(ARRIVAL_MS - MAX_AGE_MS - 1), "too_old"),
        Arguments.of("transaction_timestamp", new Date(Long.MIN_VALUE), "too_old"));
  }

  @ParameterizedTest
  @MethodSource("fields")
  void judgesEachField(String field, Object value, String verdict) {
    assertEquals(verdict, verdict(TestRecords.value().put(field, value)));
  }

  @Test
  void firstBrokenRuleGivesTheReason() {
    Struct value =
        TestRecords.value()
            .put("transaction_timestamp", new Date(0))
            .put("transaction_type", "?")
            .put("transaction_amount", -1.0);
    assertEquals("invalid_amount", verdict(value));
  }

  @Test
  void nullAndOtherRecordsAreUndecodable() {
    Schema other = SchemaBuilder.struct().field("transaction_id", Schema.STRING_SCHEMA).build();
    assertEquals("undecodable", verdict(null));
    assertEquals("undecodable", verdict("text"));
    assertEquals("undecodable", verdict(new Struct(other).put("transaction_id", "id-1")));
  }

  @Test
  void plainLongIsTheSameTimestamp() {
    SchemaBuilder builder = SchemaBuilder.struct();
    TestRecords.SCHEMA
        .fields()
        .forEach(
            field ->
                builder.field(
                    field.name(),
                    field.name().equals("transaction_timestamp")
                        ? Schema.INT64_SCHEMA
                        : field.schema()));
    Struct value = new Struct(builder.build());
    TestRecords.SCHEMA.fields().stream()
        .filter(field -> !field.name().equals("transaction_timestamp"))
        .forEach(field -> value.put(field.name(), TestRecords.value().get(field)));
    assertEquals("valid", verdict(value.put("transaction_timestamp", ARRIVAL_MS)));
  }

  @Test
  void messageHoldsNoPayload() {
    Struct value = TestRecords.value().put("transaction_type", "secret");
    String message =
        RULES.rejection(CONFIG.source().transaction(value), ARRIVAL_MS).orElseThrow().getMessage();
    assertFalse(message.contains("secret"), message);
  }

  private static String verdict(Object value) {
    Optional<RejectedRecordException> rejection =
        RULES.rejection(CONFIG.source().transaction(value), ARRIVAL_MS);
    return rejection.map(why -> why.getMessage().split(":")[0]).orElse("valid");
  }
}
