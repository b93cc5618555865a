package io.github.frauddetection.connect;

import org.apache.kafka.connect.errors.DataException;

/**
 * Why a record goes to the dead-letter topic. The message, {@code <reason>: <detail>}, becomes a
 * header of the dead letter; readers take the reason before the first colon. No payload in it.
 */
final class RejectedRecordException extends DataException {
  private static final long serialVersionUID = 1L;

  RejectedRecordException(String reason, String detail) {
    super(reason + ": " + detail);
  }

  /** Without a trace: it says nothing here, and Connect would copy it into every dead letter. */
  @Override
  public synchronized Throwable fillInStackTrace() {
    return this;
  }
}
