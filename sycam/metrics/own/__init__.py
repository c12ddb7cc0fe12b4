"""Metrics of a person's own: from files, modules, installed packages and programs."""
