package io.github.frauddetection.connect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.LongStream;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.sink.ErrantRecordReporter;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTaskContext;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class CassandraSinkTaskTest {
  private static final int TABLES = 2;

  /** Fails as told, acknowledges the rest a little later on another thread. */
  private static final class FakeStore implements RowStore {
    final ScheduledExecutorService acknowledger = Executors.newSingleThreadScheduledExecutor();
    final AtomicInteger acknowledged = new AtomicInteger();
    final AtomicInteger inFlight = new AtomicInteger();
    final AtomicInteger mostInFlight = new AtomicInteger();
    RuntimeException onOpen;
    RuntimeException onWrite;
    boolean isRefusal;

    @Override
    public void open() {
      if (onOpen != null) {
        throw onOpen;
      }
    }

    @Override
    public CompletionStage<?> write(TableMapping mapping, Object[] row) {
      if (onWrite != null) {
        return CompletableFuture.failedFuture(onWrite);
      }
      mostInFlight.accumulateAndGet(inFlight.incrementAndGet(), Math::max);
      CompletableFuture<Void> write = new CompletableFuture<>();
      acknowledger.schedule(
          () -> {
            inFlight.decrementAndGet();
            acknowledged.incrementAndGet();
            write.complete(null);
          },
          1,
          TimeUnit.MILLISECONDS);
      return write;
    }

    @Override
    public boolean isRefusal(Throwable failure) {
      if (isRefusal) {
        return true;
      }
      throw new RetriableException(failure);
    }

    @Override
    public void close() {
      acknowledger.shutdown();
    }
  }

  private final FakeStore store = new FakeStore();
  private final List<String> reported = Collections.synchronizedList(new ArrayList<>());
  private final CassandraSinkTask task = new CassandraSinkTask(config -> store);
  private CompletableFuture<Void> reportAcknowledgement = CompletableFuture.completedFuture(null);
  private long timeoutMs;
  private int commits;

  @BeforeEach
  void start() {
    task.initialize(
        context(
            (record, error) -> {
              reported.add(record.kafkaOffset() + " " + error.getMessage().split(":")[0]);
              return reportAcknowledgement;
            }));
    var config = TestRecords.config();
    config.put("max.in.flight", "5");
    task.start(config);
  }

  @AfterEach
  void stop() {
    task.stop();
  }

  @Test
  void putReturnsWhenEveryWriteIsAcknowledged() {
    task.put(good(50));
    assertEquals(50 * TABLES, store.acknowledged.get());
    assertTrue(store.mostInFlight.get() <= 5, "in flight: " + store.mostInFlight);
  }

  @Test
  void rejectedRecordIsReportedAndNotWritten() {
    task.put(List.of(TestRecords.record(1, TestRecords.value()), TestRecords.record(2, null)));
    assertEquals(TABLES, store.acknowledged.get());
    assertEquals(List.of("2 undecodable"), reported);
  }

  @Test
  void failedWriteIsRetriedByConnectAndNothingIsReportedYet() {
    store.onWrite = new IllegalStateException("Cassandra is down");
    var records = List.of(TestRecords.record(1, null), TestRecords.record(2, TestRecords.value()));
    assertThrows(RetriableException.class, () -> task.put(records));
    assertEquals(List.of(), reported);
    assertEquals(1000, timeoutMs);

    store.onWrite = null;
    task.put(records);
    assertEquals(List.of("1 undecodable"), reported);
  }

  @Test
  void offsetsAreCommittedOnceASecondAndSoonAfterTheLastRecord() {
    task.put(good(1));
    assertEquals(1, commits);
    task.put(good(1));
    assertEquals(1, commits);
    assertEquals(1000, timeoutMs); // Connect calls again by then
  }

  @Test
  void unreachableStoreIsRetriedByConnect() {
    store.onOpen = new RetriableException("no login");
    assertThrows(RetriableException.class, () -> task.put(good(1)));
    assertEquals(1000, timeoutMs);
  }

  @Test
  void refusedRowIsReportedOnceWhateverTheNumberOfTables() {
    store.onWrite = new IllegalStateException("bad value");
    store.isRefusal = true;
    task.put(good(1));
    assertEquals(List.of("0 unwritable"), reported);
  }

  @Test
  void lostDeadLetterFailsTheTask() {
    reportAcknowledgement = CompletableFuture.failedFuture(new IllegalStateException("no topic"));
    var records = List.of(TestRecords.record(1, null));
    ConnectException error = assertThrows(ConnectException.class, () -> task.put(records));
    assertFalse(error instanceof RetriableException);
  }

  @Test
  void putWaitsForTheDeadLetter() {
    reportAcknowledgement = new CompletableFuture<>();
    store.acknowledger.schedule(
        () -> reportAcknowledgement.complete(null), 20, TimeUnit.MILLISECONDS);
    task.put(List.of(TestRecords.record(1, null)));
    assertTrue(reportAcknowledgement.isDone());
  }

  @Test
  void taskWithoutDeadLetterTopicRefusesToStart() {
    CassandraSinkTask other = new CassandraSinkTask(config -> store);
    other.initialize(context(null));
    assertThrows(ConnectException.class, () -> other.start(TestRecords.config()));
  }

  private static List<SinkRecord> good(int count) {
    return LongStream.range(0, count)
        .mapToObj(offset -> TestRecords.record(offset, TestRecords.value()))
        .toList();
  }

  /** A context that knows the calls that the task makes. */
  private SinkTaskContext context(ErrantRecordReporter reporter) {
    return (SinkTaskContext)
        Proxy.newProxyInstance(
            getClass().getClassLoader(),
            new Class<?>[] {SinkTaskContext.class},
            (proxy, method, arguments) -> {
              switch (method.getName()) {
                case "errantRecordReporter":
                  return reporter;
                case "requestCommit":
                  commits++;
                  return null;
                case "timeout":
                  timeoutMs = (Long) arguments[0];
                  return null;
                default:
                  throw new UnsupportedOperationException(method.getName());
              }
            });
  }
}
