"""The guest in the user's program: what makes spans of its calls and brings them to a store (standard library only)."""
