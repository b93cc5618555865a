package io.github.frauddetection.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.math.BigDecimal;
import java.util.Date;
import java.util.Map;
import java.util.Optional;
import org.apache.kafka.connect.data.Decimal;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.data.Timestamp;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Records of a bank that knows nothing of our schema. */
class SourceMappingTest {
  private static final Schema PARTY =
      SchemaBuilder.struct().optional().field("iban", Schema.OPTIONAL_STRING_SCHEMA).build();

  private static final Schema SCHEMA =
      SchemaBuilder.struct()
          .field("txnId", Schema.INT64_SCHEMA)
          .field("bookedAt", Schema.OPTIONAL_STRING_SCHEMA)
          .field("amountMinor", Schema.INT64_SCHEMA)
          .field("debtor", PARTY)
          .field("creditor", PARTY)
          .field("kind", Schema.OPTIONAL_STRING_SCHEMA)
          .build();

  private final Map<String, String> config = TestRecords.config();

  SourceMappingTest() {
    config.put(
        "source.mapping",
        "transaction_id=txnId, transaction_timestamp=bookedAt, transaction_amount=amountMinor,"
            + " sender_account=debtor.iban, receiver_account=creditor.iban, transaction_type=kind,"
            + " transaction_status=");
    config.put("source.time.format", "iso_8601");
    config.put("source.amount.divisor", "100");
    config.put("source.type.values", "CARD=purchase");
    config.put("source.default.status", "failed");
  }

  @Test
  void fieldsAreFoundAndConverted() {
    assertEquals(
        Optional.of(
            new Transaction("4711", 1_735_689_600_500L, 0.29, "alice", "bob", "purchase", "failed")),
        transaction(value()));
  }

  @Test
  void unknownValueStaysAndNullIsTheDefault() {
    assertEquals("wire", transaction(value().put("kind", "wire")).orElseThrow().type());
    assertEquals("payment", transaction(value().put("kind", null)).orElseThrow().type());
  }

  @Test
  void missingValueIsNoTransaction() {
    assertEquals(Optional.empty(), transaction(null));
    assertEquals(Optional.empty(), transaction("text"));
    assertEquals(Optional.empty(), transaction(value().put("debtor", null)));
    assertEquals(Optional.empty(), transaction(value().put("creditor", new Struct(PARTY))));
    assertEquals(Optional.empty(), transaction(value().put("bookedAt", null)));
  }

  @ParameterizedTest
  @CsvSource({"txnId, debtor", "bookedAt, txnId", "kind, nonsense", "debtor.iban, kind.iban"})
  void fieldThatDoesNotFitIsNoTransaction(String path, String other) {
    config.computeIfPresent(
        "source.mapping", (key, mapping) -> mapping.replace("=" + path, "=" + other));
    assertEquals(Optional.empty(), transaction(value()));
  }

  @ParameterizedTest
  @CsvSource({
    "2026-03-01T12:00:00Z, 1772366400000",
    "2026-03-01T12:00:00, 1772366400000",
    "2026-03-01T12:00:00.1239999+02:00, 1772359200123",
    "1969-12-31T23:59:59.9999Z, -1",
    "9999-12-31T23:59:59-14:00, 253402351199000",
    "1000-01-01T00:00:00+14:00, -30610274400000",
  })
  void textIsReadAsMoment(String text, long expectedMs) {
    assertEquals(expectedMs, TimeFormat.ISO_8601.milliseconds(text));
  }

  @ParameterizedTest
  @CsvSource({
    "''", "yesterday", "2026-03-01", "2026-03-01 12:00:00Z", "2026-02-30T12:00:00Z",
    "2026-03-01T24:00:00Z", "2026-03-01T12:00Z", "2026-03-01T12:00:00+15:00", "20260301T120000Z",
    "2026-03-01T12:00:60Z", "0000-03-01T12:00:00Z", "2026-03-01T12:00:00.1234567891Z",
  })
  void otherTextIsNone(String text) {
    assertNull(TimeFormat.ISO_8601.milliseconds(text));
  }

  @ParameterizedTest
  @CsvSource({
    "EPOCH_S, 5, 5000",
    "EPOCH_S, 9223372036854775807, 9223372036854775000",
    "EPOCH_S, -9223372036854775808, -9223372036854775000",
    "EPOCH_MS, 9223372036854775807, 9223372036854775807",
    "EPOCH_US, -1, -1",
    "EPOCH_US, 1999, 1",
  })
  void numberIsReadAsMoment(TimeFormat format, long number, long expectedMs) {
    assertEquals(expectedMs, format.milliseconds(number));
  }

  @Test
  void amountMayBeAnyNumber() {
    assertEquals(0.29, amount(Schema.INT8_SCHEMA, (byte) 29));
    assertEquals(0.29, amount(Schema.INT32_SCHEMA, 29));
    assertEquals(0.255, amount(Schema.FLOAT32_SCHEMA, 25.5f));
    assertEquals(0.29, amount(Schema.FLOAT64_SCHEMA, 29.0));
    assertEquals(0.29, amount(Decimal.schema(2), new BigDecimal("29.00")));
  }

  @Test
  void logicalTimestampIsMilliseconds() {
    assertEquals(7L, TimeFormat.EPOCH_MS.milliseconds(Timestamp.toLogical(Timestamp.SCHEMA, 7)));
    assertThrows(
        MisfitException.class, () -> TimeFormat.EPOCH_S.milliseconds(new Date(7)));
  }

  private double amount(Schema schema, Object amount) {
    SchemaBuilder builder = SchemaBuilder.struct();
    SCHEMA
        .fields()
        .forEach(
            field ->
                builder.field(
                    field.name(), field.name().equals("amountMinor") ? schema : field.schema()));
    Struct value = new Struct(builder.build());
    SCHEMA.fields().stream()
        .filter(field -> !field.name().equals("amountMinor"))
        .forEach(field -> value.put(field.name(), value().get(field)));
    return transaction(value.put("amountMinor", amount)).orElseThrow().amount();
  }

  private Optional<Transaction> transaction(Object value) {
    return new SinkConfig(config).source().transaction(value);
  }

  private static Struct value() {
    return new Struct(SCHEMA)
        .put("txnId", 4711L)
        .put("bookedAt", "2025-01-01T00:00:00.500Z")
        .put("amountMinor", 29L)
        .put("debtor", new Struct(PARTY).put("iban", "alice"))
        .put("creditor", new Struct(PARTY).put("iban", "bob"))
        .put("kind", "CARD");
  }
}
