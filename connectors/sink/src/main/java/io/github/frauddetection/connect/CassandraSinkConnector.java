package io.github.frauddetection.connect;

import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.Config;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.config.ConfigValue;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.sink.SinkConnector;

/** Writes transactions to Cassandra; what breaks a record rule goes to the dead-letter topic. */
public final class CassandraSinkConnector extends SinkConnector {
  private Map<String, String> properties;

  @Override
  public void start(Map<String, String> properties) {
    new SinkConfig(properties);
    this.properties = Map.copyOf(properties);
  }

  @Override
  public Class<? extends Task> taskClass() {
    return CassandraSinkTask.class;
  }

  @Override
  public List<Map<String, String>> taskConfigs(int maxTasks) {
    return Collections.nCopies(maxTasks, properties);
  }

  @Override
  public void stop() {
    // nothing is held here
  }

  @Override
  public ConfigDef config() {
    return SinkConfig.DEFINITION;
  }

  /** Adds to the single keys what only holds for them together: every table has its mapping. */
  @Override
  public Config validate(Map<String, String> properties) {
    Config config = super.validate(properties);
    if (config.configValues().stream().allMatch(value -> value.errorMessages().isEmpty())) {
      try {
        new SinkConfig(properties);
      } catch (ConfigException error) {
        tables(config).addErrorMessage(error.getMessage());
      }
    }
    return config;
  }

  private static ConfigValue tables(Config config) {
    return config.configValues().stream()
        .filter(value -> value.name().equals(SinkConfig.TABLES))
        .findFirst()
        .orElseThrow();
  }

  @Override
  public String version() {
    return Version.VALUE;
  }
}
