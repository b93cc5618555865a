package io.github.frauddetection.connect;

import java.io.EOFException;
import java.io.IOException;
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
   * Longest string that Avro allocates. Without it a corrupt length of two billion takes the whole
   * worker's memory; no Kafka record here comes near.
   */
  private static final String AVRO_STRING_LIMIT = "org.apache.avro.limits.string.maxLength";

  private static final int MAX_STRING_BYTES = 16 * 1024 * 1024;

  /** Answers below 500 that say nothing about the record: login, timeout, too many requests. */
  private static final Set<Integer> RETRIABLE_STATUSES = Set.of(401, 403, 407, 408, 429);

  private static final char REPLACEMENT = '\uFFFD';

  static {
    if (System.getProperty(AVRO_STRING_LIMIT) == null) {
      System.setProperty(AVRO_STRING_LIMIT, Integer.toString(MAX_STRING_BYTES));
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
    SchemaAndValue decoded;
    try {
      decoded = delegate.toConnectData(topic, value);
    } catch (RuntimeException failure) {
      if (isOutage(failure)) {
        throw new RetriableException("the schema registry does not answer; trying again", failure);
      }
      throw failure instanceof DataException ? failure : new DataException("not Avro", failure);
    }
    if (decoded.value() instanceof Struct struct && hasMalformedText(struct, value)) {
      throw new DataException("text that is not UTF-8");
    }
    return decoded;
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
   * Tells whether a text was not UTF-8. Java decodes such bytes to U+FFFD in silence while other
   * readers refuse them, so a U+FFFD must be in the bytes as well.
   */
  private static boolean hasMalformedText(Struct struct, byte[] bytes) {
    long decoded = decodedReplacements(struct);
    return decoded > 0 && decoded > encodedReplacements(bytes);
  }

  /** Counts them in the texts of a record and of the records within it. */
  private static long decodedReplacements(Struct struct) {
    long count = 0;
    for (Field field : struct.schema().fields()) {
      Object value = struct.get(field);
      if (value instanceof String text) {
        count += text.chars().filter(letter -> letter == REPLACEMENT).count();
      } else if (value instanceof Struct inner) {
        count += decodedReplacements(inner);
      }
    }
    return count;
  }

  private static long encodedReplacements(byte[] bytes) {
    long count = 0;
    for (int i = 0; i + 2 < bytes.length; i++) {
      if (bytes[i] == (byte) 0xEF && bytes[i + 1] == (byte) 0xBF && bytes[i + 2] == (byte) 0xBD) {
        count++;
      }
    }
    return count;
  }
}
