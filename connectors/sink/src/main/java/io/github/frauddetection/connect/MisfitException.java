package io.github.frauddetection.connect;

/** A record does not fit the mapping: a field is not in its schema, or is of another type. */
final class MisfitException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  MisfitException() {
    super(null, null, false, false); // caught in this package; a trace would cost and say nothing
  }
}
