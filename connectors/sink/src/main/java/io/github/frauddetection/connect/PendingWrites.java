package io.github.frauddetection.connect;

import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Semaphore;
import java.util.function.Supplier;
import org.apache.kafka.connect.sink.SinkRecord;

/** The writes of one call of {@code put}: a bounded number in flight, failures collected. */
final class PendingWrites {
  /** A write that did not succeed, and the record that it belongs to. */
  record Failure(SinkRecord record, Throwable cause) {}

  private final int maxInFlight;
  private final Semaphore permits;
  private final Queue<Failure> failures = new ConcurrentLinkedQueue<>();

  PendingWrites(int maxInFlight) {
    this.maxInFlight = maxInFlight;
    this.permits = new Semaphore(maxInFlight);
  }

  /** Starts a write; waits while too many are in flight (the driver ends each by its timeout). */
  void start(SinkRecord record, Supplier<CompletionStage<?>> write) {
    permits.acquireUninterruptibly();
    try {
      write.get().whenComplete((result, failure) -> end(record, failure));
    } catch (RuntimeException failure) {
      end(record, failure);
    }
  }

  /** Returns when no write is in flight. */
  void await() {
    permits.acquireUninterruptibly(maxInFlight);
    permits.release(maxInFlight);
  }

  /** Returns the failures since the last call. */
  List<Failure> drainFailures() {
    List<Failure> drained = new ArrayList<>();
    for (Failure failure = failures.poll(); failure != null; failure = failures.poll()) {
      drained.add(failure);
    }
    return drained;
  }

  private void end(SinkRecord record, Throwable failure) {
    if (failure != null) {
      boolean isWrapped = failure instanceof CompletionException && failure.getCause() != null;
      failures.add(new Failure(record, isWrapped ? failure.getCause() : failure));
    }
    permits.release();
  }
}
