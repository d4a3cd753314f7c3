"""Where a process, or several, remember their sessions: see ``interface``."""
