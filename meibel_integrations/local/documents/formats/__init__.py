"""One module per family of formats; each turns a file's content into ``Extracted`` text."""
