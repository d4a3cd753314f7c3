"""Answerers: how the local service makes its answers."""
