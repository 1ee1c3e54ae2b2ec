"""A third world: real arrivals replayed into products of our own, with faults that the other two do not have."""
