package io.github.frauddetection.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.kafka.connect.errors.DataException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The records of {@code tests/support/corpus.py}: converter and rules give their verdicts. */
class CorpusTest {
  /** Written by {@code python -m tests.support.vectors}; a contract test keeps it up to date. */
  private static final Path VECTORS = Path.of("src/test/resources/corpus.txt");

  private static final int SCHEMA_ID = 7;
  private static final long ARRIVAL_MS = 1_772_366_400_000L;

  private static final RetryingAvroConverter CONVERTER = new RetryingAvroConverter();
  private static HttpServer registry;
  private static SinkConfig config;

  /** A registry that knows schema.avsc under one id, and nothing else. */
  @BeforeAll
  static void start() throws IOException {
    Map<String, String> properties = TestRecords.config();
    properties.put("rules.transaction.types", "transfer,payment,deposit,purchase,donation");
    config = new SinkConfig(properties);
    String escaped =
        Files.readString(Path.of("../../schema.avsc")).replace("\"", "\\\"").replace("\n", " ");
    byte[] known =
        "{\"subject\": \"transactions-value\", \"id\": %d, \"version\": 1, \"schema\": \"%s\"}"
            .formatted(SCHEMA_ID, escaped)
            .getBytes(StandardCharsets.UTF_8);
    byte[] unknown = "{\"error_code\": 40403, \"message\": \"no such schema\"}".getBytes();
    registry = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    registry.createContext(
        "/",
        exchange -> {
          String path = exchange.getRequestURI().getPath();
          boolean isKnown =
              path.equals("/schemas/ids/" + SCHEMA_ID) || path.startsWith("/subjects/");
          byte[] answer = isKnown ? known : unknown;
          exchange.sendResponseHeaders(isKnown ? 200 : 404, answer.length);
          exchange.getResponseBody().write(answer);
          exchange.close();
        });
    registry.start();
    String url = "http://127.0.0.1:" + registry.getAddress().getPort();
    CONVERTER.configure(Map.of("schema.registry.url", url), false);
  }

  @AfterAll
  static void stop() {
    registry.stop(0);
  }

  /** Each line holds a name, a verdict and the record in hexadecimal digits, or null. */
  static Stream<Arguments> cases() throws IOException {
    return Files.readAllLines(VECTORS).stream()
        .map(line -> List.of(line.split(" ", 3)))
        .map(parts -> Arguments.of(parts.get(0), parts.get(1), parts.get(2)));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("cases")
  void eachRecordGetsItsVerdict(String name, String verdict, String value) {
    assertEquals(verdict, verdict(value.equals("null") ? null : HexFormat.of().parseHex(value)));
  }

  private static String verdict(byte[] value) {
    Object decoded;
    try {
      decoded = CONVERTER.toConnectData("transactions", null, value).value();
    } catch (DataException refused) {
      return "undecodable";
    }
    return config
        .rules()
        .rejection(config.source().transaction(decoded), ARRIVAL_MS)
        .map(why -> why.getMessage().split(":")[0])
        .orElse("valid");
  }
}
