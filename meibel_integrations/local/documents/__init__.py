"""Documents on their way into the service: finding files, reading formats, cutting passages, storing them."""
