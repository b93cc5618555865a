"""Starts, watches and ends the whole pipeline as processes of this machine: ``make run``."""
