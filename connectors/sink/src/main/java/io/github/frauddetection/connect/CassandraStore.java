package io.github.frauddetection.connect;

import com.datastax.oss.driver.api.core.AllNodesFailedException;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.CqlSessionBuilder;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.DriverException;
import com.datastax.oss.driver.api.core.DriverTimeoutException;
import com.datastax.oss.driver.api.core.auth.AuthenticationException;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import com.datastax.oss.driver.api.core.servererrors.InvalidQueryException;
import com.datastax.oss.driver.api.core.servererrors.QueryExecutionException;
import com.datastax.oss.driver.api.core.servererrors.QueryValidationException;
import com.datastax.oss.driver.api.core.type.codec.CodecNotFoundException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletionStage;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.RetriableException;

/**
 * Rows in Cassandra.
 *
 * <p>After any failure but a slow or overloaded node the session is dropped and the next {@code
 * open} starts afresh: that covers a restarted server, a changed address, a changed password and a
 * re-created table alike, because prepared statements die with their session.
 */
final class CassandraStore implements RowStore {
  private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);

  /** The driver's own 1 s to 60 s would idle half a minute after a node is back. */
  private static final Duration RECONNECT_BASE = Duration.ofMillis(500);

  private static final Duration RECONNECT_MAX = Duration.ofSeconds(2);

  private final SinkConfig config;
  private final String keyspace;
  private final Map<TableMapping, PreparedStatement> statements = new HashMap<>();
  private CqlSession session;

  CassandraStore(SinkConfig config) {
    this.config = config;
    this.keyspace = config.getString(SinkConfig.KEYSPACE);
  }

  @Override
  public void open() {
    if (session != null) {
      return;
    }
    try {
      session = connect();
      for (TableMapping mapping : config.mappings()) {
        statements.put(mapping, session.prepare(mapping.insert(keyspace)));
      }
    } catch (DriverException | IOException | IllegalStateException failure) {
      close();
      throw new RetriableException(explain(failure), failure);
    }
  }

  @Override
  public CompletionStage<?> write(TableMapping mapping, Object[] row) {
    return session.executeAsync(statements.get(mapping).bind(row));
  }

  @Override
  public boolean isRefusal(Throwable failure) {
    if (failure instanceof CodecNotFoundException || failure instanceof IllegalArgumentException) {
      throw new ConnectException("a mapping does not fit the type of its column", failure);
    }
    if (failure instanceof InvalidQueryException && session != null && areTablesThere()) {
      return true;
    }
    boolean isBusyNode =
        failure instanceof DriverTimeoutException || failure instanceof QueryExecutionException;
    if (!isBusyNode) {
      close();
    }
    throw new RetriableException(explain(failure), failure);
  }

  @Override
  public void close() {
    statements.clear();
    if (session != null) {
      session.forceCloseAsync();
      session = null;
    }
  }

  private CqlSession connect() throws IOException {
    ClassLoader plugin = CassandraStore.class.getClassLoader();
    DriverConfigLoader options =
        DriverConfigLoader.programmaticBuilder(plugin)
            .withString(
                DefaultDriverOption.LOAD_BALANCING_LOCAL_DATACENTER,
                config.getString(SinkConfig.DATACENTER))
            .withDuration(
                DefaultDriverOption.REQUEST_TIMEOUT,
                Duration.ofMillis(config.getInt(SinkConfig.REQUEST_TIMEOUT_MS)))
            .withString(
                DefaultDriverOption.REQUEST_CONSISTENCY,
                DefaultConsistencyLevel.LOCAL_QUORUM.name())
            .withBoolean(DefaultDriverOption.REQUEST_DEFAULT_IDEMPOTENCE, true)
            .withDuration(DefaultDriverOption.CONNECTION_CONNECT_TIMEOUT, CONNECT_TIMEOUT)
            .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, CONNECT_TIMEOUT)
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, CONNECT_TIMEOUT)
            .withDuration(DefaultDriverOption.RECONNECTION_BASE_DELAY, RECONNECT_BASE)
            .withDuration(DefaultDriverOption.RECONNECTION_MAX_DELAY, RECONNECT_MAX)
            .withStringList(
                DefaultDriverOption.METADATA_SCHEMA_REFRESHED_KEYSPACES, List.of(keyspace))
            .build();
    CqlSessionBuilder builder =
        CqlSession.builder().withClassLoader(plugin).withConfigLoader(options);
    for (String host : config.getList(SinkConfig.CONTACT_POINTS)) {
      // Unresolved: the name is looked up at each connect, as a container's address may change.
      builder.addContactPoint(
          InetSocketAddress.createUnresolved(host, config.getInt(SinkConfig.PORT)));
    }
    String username = config.getString(SinkConfig.USERNAME);
    if (!username.isEmpty()) {
      builder.withAuthCredentials(username, password());
    }
    return builder.build();
  }

  private String password() throws IOException {
    String file = config.getString(SinkConfig.PASSWORD_FILE);
    if (file.isEmpty()) {
      return config.getPassword(SinkConfig.PASSWORD).value();
    }
    return Files.readString(Path.of(file)).strip();
  }

  /** Asks Cassandra, because after a dropped table the statements fail like for a bad value. */
  private boolean areTablesThere() {
    try {
      var metadata = session.refreshSchema().getKeyspace(keyspace);
      return config.mappings().stream()
          .allMatch(
              mapping -> {
                Optional<TableMetadata> table =
                    metadata.flatMap(tables -> tables.getTable(mapping.table()));
                return table.isPresent()
                    && mapping.columns().stream()
                        .allMatch(column -> table.get().getColumn(column).isPresent());
              });
    } catch (DriverException outage) {
      return false; // unknown: the row is tried again
    }
  }

  private String explain(Throwable failure) {
    if (isLoginFailure(failure)) {
      return "Cassandra refuses the login '%s': check %s and its password; trying again"
          .formatted(config.getString(SinkConfig.USERNAME), SinkConfig.USERNAME);
    }
    if (failure instanceof QueryValidationException) {
      return "Cassandra refuses a statement (%s): is keyspace %s migrated? Trying again"
          .formatted(failure.getMessage(), keyspace);
    }
    return "Cassandra does not take rows (%s); trying again".formatted(failure.getMessage());
  }

  private static boolean isLoginFailure(Throwable failure) {
    return failure instanceof AuthenticationException
        || failure instanceof AllNodesFailedException all
            && all.getAllErrors().values().stream()
                .flatMap(List::stream)
                .anyMatch(AuthenticationException.class::isInstance);
  }
}
