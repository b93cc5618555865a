"""Init steps of Kafka and Connect: topics, schema and connector. Safe to run again at any time."""
