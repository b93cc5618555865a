"""Watches Kafka, the registry and Connect, writes their status and restarts failed tasks."""
