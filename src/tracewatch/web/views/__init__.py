"""What pages show, read from the store: plain functions from a store to values, one noun a file."""
