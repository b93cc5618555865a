package io.github.frauddetection.connect;

import java.util.concurrent.CompletionStage;

/** Where rows go. The task does the bookkeeping, the store the driver's part. */
interface RowStore extends AutoCloseable {
  /**
   * Connects and prepares the statements unless that is done.
   *
   * @throws org.apache.kafka.connect.errors.RetriableException if that does not work now
   */
  void open();

  /** Starts to write a row; any failure of the write is in the stage or thrown. */
  CompletionStage<?> write(TableMapping mapping, Object[] row);

  /**
   * Tells what a failed write means: true if Cassandra refuses this very row, and would again.
   * Called on the task's thread.
   *
   * @throws org.apache.kafka.connect.errors.RetriableException if writing again may succeed
   * @throws org.apache.kafka.connect.errors.ConnectException if it cannot
   */
  boolean isRefusal(Throwable failure);

  @Override
  void close();
}
