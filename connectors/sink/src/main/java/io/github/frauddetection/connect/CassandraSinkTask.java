package io.github.frauddetection.connect;

import java.util.ArrayList;
import java.util.Collection;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.sink.ErrantRecordReporter;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

/**
 * Writes each valid record to every table and reports every other one, with its reason.
 *
 * <p>{@code put} returns when Cassandra has acknowledged every row and Kafka every dead letter, so
 * an offset that Connect commits never lies behind a lost record. While Cassandra does not take
 * rows, {@code put} throws {@link RetriableException} and Connect delivers the same records again;
 * rows are upserts, so that changes nothing. Dead letters are reported last, when nothing of the
 * call can be retried any more: otherwise each repetition would report them again.
 */
public final class CassandraSinkTask extends SinkTask {
  /** Short, so that writing resumes soon after an outage; each attempt ends by its timeout. */
  private static final long RETRY_MS = 1_000;

  /**
   * Connect's own interval is a minute: that long would the lag look wrong, and that much would be
   * written again after a crash.
   */
  private static final long COMMIT_MS = 1_000;

  private final Function<SinkConfig, RowStore> stores;
  private List<TableMapping> mappings;
  private SourceMapping source;
  private Rules rules;
  private int maxInFlight;
  private ErrantRecordReporter reporter;
  private RowStore store;
  private boolean isUncommitted;
  private long lastCommitMs;

  /** Called by Connect. */
  public CassandraSinkTask() {
    this(CassandraStore::new);
  }

  CassandraSinkTask(Function<SinkConfig, RowStore> stores) {
    this.stores = stores;
  }

  /** Does not touch Cassandra: an outage at the start must not fail the task. */
  @Override
  public void start(Map<String, String> properties) {
    SinkConfig config = new SinkConfig(properties);
    mappings = config.mappings();
    source = config.source();
    rules = config.rules();
    maxInFlight = config.getInt(SinkConfig.MAX_IN_FLIGHT);
    reporter = context.errantRecordReporter();
    if (reporter == null) {
      throw new ConnectException(
          "no dead-letter topic: set errors.tolerance=all and errors.deadletterqueue.topic.name");
    }
    store = stores.apply(config);
    lastCommitMs = monotonicMs() - COMMIT_MS;
  }

  @Override
  public void put(Collection<SinkRecord> records) {
    if (!records.isEmpty()) {
      deliver(records);
      isUncommitted = true;
    }
    if (isUncommitted) {
      commitSoon();
    }
  }

  private void deliver(Collection<SinkRecord> records) {
    Map<SinkRecord, RejectedRecordException> rejected = new IdentityHashMap<>();
    try {
      store.open();
      write(records, rejected);
    } catch (RetriableException outage) {
      context.timeout(RETRY_MS);
      throw outage;
    }
    report(rejected);
  }

  /** Writes the valid records and adds the others to {@code rejected}. */
  private void write(
      Collection<SinkRecord> records, Map<SinkRecord, RejectedRecordException> rejected) {
    PendingWrites writes = new PendingWrites(maxInFlight);
    try {
      for (SinkRecord record : records) {
        Optional<Transaction> transaction = source.transaction(record.value());
        long arrivalMs = Objects.requireNonNullElse(record.timestamp(), -1L);
        Optional<RejectedRecordException> rejection = rules.rejection(transaction, arrivalMs);
        if (rejection.isPresent()) {
          rejected.put(record, rejection.get());
          continue;
        }
        for (TableMapping mapping : mappings) {
          Object[] row = mapping.row(record, transaction.orElseThrow());
          writes.start(record, () -> store.write(mapping, row));
        }
        settle(writes, rejected); // an outage ends the call at once, not after the last record
      }
    } finally {
      writes.await();
    }
    settle(writes, rejected);
  }

  private void settle(
      PendingWrites writes, Map<SinkRecord, RejectedRecordException> rejected) {
    for (PendingWrites.Failure failure : writes.drainFailures()) {
      if (store.isRefusal(failure.cause())) {
        // The rules should have caught it; the record is kept, and the reason shows the gap.
        rejected.put(
            failure.record(),
            new RejectedRecordException("unwritable", "Cassandra refuses the values"));
      }
    }
  }

  private void report(Map<SinkRecord, RejectedRecordException> rejected) {
    List<Future<Void>> acknowledgements = new ArrayList<>();
    rejected.forEach((record, why) -> acknowledgements.add(reporter.report(record, why)));
    for (Future<Void> acknowledgement : acknowledgements) {
      try {
        acknowledgement.get();
      } catch (ExecutionException error) {
        throw new ConnectException("a dead letter could not be written", error.getCause());
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
        throw new ConnectException("stopped before every dead letter was written", error);
      }
    }
  }

  private void commitSoon() {
    long nowMs = monotonicMs();
    if (nowMs - lastCommitMs >= COMMIT_MS) {
      context.requestCommit();
      lastCommitMs = nowMs;
      isUncommitted = false;
    } else {
      context.timeout(COMMIT_MS); // put is called again by then, if only with no records
    }
  }

  private static long monotonicMs() {
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime());
  }

  @Override
  public void stop() {
    if (store != null) {
      store.close();
    }
  }

  @Override
  public String version() {
    return Version.VALUE;
  }
}
