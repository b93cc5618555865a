package io.github.frauddetection.connect;

import java.io.EOFException;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.storage.Converter;

/**
 * Confluent's AvroConverter, which tells an outage of the registry from a bad record.
 *
 * <p>By itself it throws {@link DataException} for both, and with {@code errors.tolerance=all} an
 * outage would send every good record to the dead-letter topic. Here an outage is a {@link
 * RetriableException}, which Connect repeats (for ever with {@code errors.retry.timeout=-1}).
 */
public final class RetryingAvroConverter implements Converter {
  private static final String CONVERTER = "io.confluent.connect.avro.AvroConverter";

  /**
   * Longest value that Avro allocates. Without it a corrupt length of two billion takes the whole
   * worker's memory; no Kafka record here comes near.
   */
  private static final List<String> AVRO_LIMITS =
      List.of("org.apache.avro.limits.string.maxLength", "org.apache.avro.limits.bytes.maxLength");

  private static final int MAX_VALUE_BYTES = 16 * 1024 * 1024;

  /** Answers below 500 that say nothing about the record: login, timeout, too many requests. */
  private static final Set<Integer> RETRIABLE_STATUSES = Set.of(401, 403, 407, 408, 429);

  private static final char REPLACEMENT = '\uFFFD';

  static {
    for (String limit : AVRO_LIMITS) {
      if (System.getProperty(limit) == null) {
        System.setProperty(limit, Integer.toString(MAX_VALUE_BYTES));
      }
    }
  }

  private final Converter delegate;

  /** Called by Connect. */
  public RetryingAvroConverter() {
    this(avroConverter());
  }

  RetryingAvroConverter(Converter delegate) {
    this.delegate = delegate;
  }

  private static Converter avroConverter() {
    try {
      ClassLoader plugin = RetryingAvroConverter.class.getClassLoader();
      return (Converter)
          Class.forName(CONVERTER, true, plugin).getDeclaredConstructor().newInstance();
    } catch (ReflectiveOperationException error) {
      throw new ConfigException("the plugin folder lacks the jars of " + CONVERTER);
    }
  }

  @Override
  public void configure(Map<String, ?> configs, boolean isKey) {
    delegate.configure(configs, isKey);
  }

  @Override
  public byte[] fromConnectData(String topic, Schema schema, Object value) {
    return delegate.fromConnectData(topic, schema, value);
  }

  @Override
  public SchemaAndValue toConnectData(String topic, Headers headers, byte[] value) {
    return toConnectData(topic, value);
  }

  /**
   * Decodes a record.
   *
   * @throws RetriableException while the registry does not answer
   * @throws DataException for bytes that will never be a record
   */
  @Override
  public SchemaAndValue toConnectData(String topic, byte[] value) {
    SchemaAndValue decoded = decode(topic, value);
    if (hasReplacement(decoded) && hasReplacement(decode(topic, withoutReplacements(value)))) {
      throw new DataException("text that is not UTF-8");
    }
    return decoded;
  }

  private SchemaAndValue decode(String topic, byte[] value) {
    try {
      return delegate.toConnectData(topic, value);
    } catch (RuntimeException failure) {
      if (isOutage(failure)) {
        throw new RetriableException("the schema registry does not answer; trying again", failure);
      }
      throw failure instanceof DataException ? failure : new DataException("not Avro", failure);
    }
  }

  static boolean isOutage(Throwable failure) {
    for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
      if (cause instanceof ConfigException) {
        return true; // what the converter makes of error codes 500 to 599, without a cause
      }
      if (cause instanceof IOException error) {
        return !isAboutTheRecord(error);
      }
      Integer status = httpStatus(cause);
      if (status != null) {
        return status >= 500 || RETRIABLE_STATUSES.contains(status);
      }
    }
    return false;
  }

  /** Avro's own errors are IOExceptions too, and so is a schema of another kind than Avro. */
  private static boolean isAboutTheRecord(IOException error) {
    return error instanceof EOFException
        || error.getClass().getName().startsWith("org.apache.avro.")
        || String.valueOf(error.getMessage()).startsWith("Invalid schema");
  }

  /** The status of the registry's answer; by name, as its class cannot be compiled against. */
  private static Integer httpStatus(Throwable cause) {
    if (!cause.getClass().getSimpleName().equals("RestClientException")) {
      return null;
    }
    try {
      return (Integer) cause.getClass().getMethod("getStatus").invoke(cause);
    } catch (ReflectiveOperationException error) {
      throw new IllegalStateException("another RestClientException than expected", error);
    }
  }

  /**
   * Returns the record with another letter of as many bytes for each U+FFFD. Java decodes what is
   * not UTF-8 to U+FFFD in silence while other readers refuse it: a U+FFFD in the texts of this
   * record is of that kind, whatever else of the original looks like one.
   */
  private static byte[] withoutReplacements(byte[] value) {
    byte[] other = value.clone();
    for (int i = 0; i + 2 < other.length; i++) {
      if (other[i] == (byte) 0xEF && other[i + 1] == (byte) 0xBF && other[i + 2] == (byte) 0xBD) {
        other[i + 2] = (byte) 0xBC; // U+FFFC
      }
    }
    return other;
  }

  private static boolean hasReplacement(SchemaAndValue decoded) {
    return decoded.value() instanceof Struct struct && hasReplacement(struct);
  }

  /** Looks at the texts of a record and of the records within it. */
  private static boolean hasReplacement(Struct struct) {
    for (Field field : struct.schema().fields()) {
      Object value = struct.get(field);
      if (value instanceof String text && text.indexOf(REPLACEMENT) >= 0
          || value instanceof Struct inner && hasReplacement(inner)) {
        return true;
      }
    }
    return false;
  }
}
