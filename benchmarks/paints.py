def paints(db):
    yield "none"
