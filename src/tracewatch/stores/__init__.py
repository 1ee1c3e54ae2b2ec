"""Where records are kept; `open_store(url)` gives the store for an address."""
