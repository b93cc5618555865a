package io.github.frauddetection.connect;

import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.temporal.TemporalAccessor;
import java.util.Date;
import java.util.regex.Pattern;

/** How the source writes a moment: the values of {@code source.time_format}. */
enum TimeFormat {
  EPOCH_S {
    @Override
    Long ofNumber(long seconds) {
      long limit = Long.MAX_VALUE / 1000;
      return Math.max(-limit, Math.min(limit, seconds)) * 1000;
    }
  },
  EPOCH_MS {
    @Override
    Long ofNumber(long milliseconds) {
      return milliseconds;
    }
  },
  EPOCH_US {
    @Override
    Long ofNumber(long microseconds) {
      return Math.floorDiv(microseconds, 1000L);
    }
  },
  ISO_8601 {
    @Override
    Long ofNumber(long number) {
      throw new MisfitException();
    }
  };

  /** {@code ISO_8601} of {@code common/pipeline/source.py}: what all readers agree on. */
  private static final Pattern ISO =
      Pattern.compile(
          "[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
              + "(\\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?");

  /** Returns ms UTC; a moment beyond what fits becomes the last one that does. */
  abstract Long ofNumber(long number);

  /**
   * Returns the moment in ms UTC, or null for null and for a text that is no moment. A text without
   * an offset is UTC.
   *
   * @throws MisfitException for a value of another type
   */
  Long milliseconds(Object value) {
    if (value == null) {
      return null;
    }
    if (value instanceof Date date && this == EPOCH_MS) {
      return date.getTime(); // of the logical type timestamp-millis
    }
    if (value instanceof String text && this == ISO_8601) {
      return ofText(text);
    }
    return ofNumber(SourceMapping.integer(value));
  }

  private static Long ofText(String text) {
    if (!ISO.matcher(text).matches()) {
      return null;
    }
    try {
      TemporalAccessor moment =
          DateTimeFormatter.ISO_DATE_TIME.parseBest(
              text, OffsetDateTime::from, LocalDateTime::from);
      OffsetDateTime utc =
          moment instanceof LocalDateTime local
              ? local.atOffset(ZoneOffset.UTC)
              : (OffsetDateTime) moment;
      return utc.toInstant().toEpochMilli();
    } catch (DateTimeException noDay) { // 30 February
      return null;
    }
  }
}
