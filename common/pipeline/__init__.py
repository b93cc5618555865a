"""Contracts shared by every service: settings, names, records and logging."""
