package io.github.frauddetection.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.errors.RetriableException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The real converter against a registry that answers as told. */
class RetryingAvroConverterTest {
  /** Answers both questions of the converter: the schema of an id, and its version. */
  private static final String SCHEMA =
      "{\"subject\": \"transactions-value\", \"id\": 1, \"version\": 1, "
          + "\"schema\": \"{\\\"type\\\": \\\"record\\\", \\\"name\\\": \\\"R\\\", \\\"fields\\\": ["
          + "{\\\"name\\\": \\\"text\\\", \\\"type\\\": \\\"string\\\"}]}\"}";

  private HttpServer registry;
  private RetryingAvroConverter converter;
  private int status = 200;
  private String body = SCHEMA;

  @BeforeEach
  void start() throws IOException {
    registry = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    registry.createContext(
        "/",
        exchange -> {
          byte[] answer = body.getBytes(StandardCharsets.UTF_8);
          exchange.sendResponseHeaders(status, answer.length);
          exchange.getResponseBody().write(answer);
          exchange.close();
        });
    registry.start();
    converter = new RetryingAvroConverter();
    String url = "http://127.0.0.1:" + registry.getAddress().getPort();
    converter.configure(Map.of("schema.registry.url", url), false);
  }

  @AfterEach
  void stop() {
    registry.stop(0);
  }

  @Test
  void goodRecordIsDecoded() {
    assertEquals("hé", text(wire(4, "hé".getBytes(StandardCharsets.UTF_8))));
  }

  @ParameterizedTest
  @CsvSource({"500,50001", "503,503", "429,429", "502,0", "401,401"})
  void answerThatSaysNothingAboutTheRecordIsRetriable(int httpStatus, int errorCode) {
    answer(httpStatus, errorCode);
    assertThrows(RetriableException.class, () -> convert(wire(1, "a".getBytes())));
  }

  @ParameterizedTest
  @CsvSource({"404,40403", "400,400", "422,42201"})
  void unknownSchemaIsABadRecord(int httpStatus, int errorCode) {
    answer(httpStatus, errorCode);
    assertBad(wire(1, "a".getBytes()));
  }

  @Test
  void unreachableRegistryIsRetriableAndForgottenWhenItIsBack() throws IOException {
    InetSocketAddress address = registry.getAddress();
    registry.stop(0);
    assertThrows(RetriableException.class, () -> convert(wire(1, "a".getBytes())));

    registry = HttpServer.create(address, 0);
    registry.createContext(
        "/",
        exchange -> {
          exchange.sendResponseHeaders(200, SCHEMA.length());
          exchange.getResponseBody().write(SCHEMA.getBytes(StandardCharsets.UTF_8));
          exchange.close();
        });
    registry.start();
    assertEquals("a", text(wire(1, "a".getBytes())));
  }

  @Test
  void schemaOfAnotherKindIsABadRecord() {
    body = "{\"schemaType\": \"JSON\", \"schema\": \"{}\"}";
    assertBad(wire(1, "a".getBytes()));
  }

  @Test
  void corruptBytesAreBadRecords() {
    assertBad(new byte[0]);
    assertBad("hello".getBytes());
    assertBad(new byte[] {0, 0, 0});
    assertBad(new byte[] {1, 0, 0, 0, 1, 2, 'a'}); // magic byte
    assertBad(new byte[] {0, 0, 0, 0, 1, 20, 'a'}); // shorter than its text
    assertBad(new byte[] {0, 0, 0, 0, 1, 1}); // negative length
    byte[] tooLongVarint = {0, 0, 0, 0, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    assertBad(tooLongVarint);
  }

  @Test
  void lengthOfTwoGigabytesDoesNotTakeTheMemory() {
    assertBad(new byte[] {0, 0, 0, 0, 1, -2, -1, -1, -1, 7, 'a'}); // 1,073,741,823
    assertTrue(Integer.getInteger("org.apache.avro.limits.string.maxLength") < 100_000_000);
  }

  @Test
  void textThatIsNotUtf8IsABadRecord() {
    assertBad(wire(1, new byte[] {'a', (byte) 0xC3}));
    byte[] replacement = "\uFFFD".getBytes(StandardCharsets.UTF_8);
    assertEquals("\uFFFD", text(wire(1, replacement)));
    ByteArrayOutputStream withOneBehind = new ByteArrayOutputStream();
    withOneBehind.writeBytes(wire(1, new byte[] {'a', (byte) 0xC3}));
    withOneBehind.writeBytes(replacement);
    assertBad(withOneBehind.toByteArray());
  }

  @Test
  void textThatIsNotUtf8WithinARecordIsABadRecord() {
    body =
        "{\"subject\": \"transactions-value\", \"id\": 1, \"version\": 1, \"schema\": \"{"
            + "\\\"type\\\": \\\"record\\\", \\\"name\\\": \\\"R\\\", \\\"fields\\\": [{"
            + "\\\"name\\\": \\\"inner\\\", \\\"type\\\": {\\\"type\\\": \\\"record\\\", \\\"name\\\":"
            + " \\\"I\\\", \\\"fields\\\": [{\\\"name\\\": \\\"text\\\", \\\"type\\\":"
            + " \\\"string\\\"}]}}]}\"}";
    assertBad(wire(1, new byte[] {'a', (byte) 0xC3}));
  }

  @Test
  void nullStaysNull() {
    assertEquals(SchemaAndValue.NULL, convert(null));
  }

  private void answer(int httpStatus, int errorCode) {
    status = httpStatus;
    body = "{\"error_code\": %d, \"message\": \"as told\"}".formatted(errorCode);
  }

  private void assertBad(byte[] record) {
    assertThrows(DataException.class, () -> convert(record));
  }

  private SchemaAndValue convert(byte[] record) {
    return converter.toConnectData("transactions", null, record);
  }

  private String text(byte[] record) {
    return ((Struct) convert(record).value()).getString("text");
  }

  private static byte[] wire(int schemaId, byte[] text) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes(ByteBuffer.allocate(5).put((byte) 0).putInt(schemaId).array());
    out.write(text.length * 2); // zigzag varint of a short length
    out.writeBytes(text);
    return out.toByteArray();
  }
}
