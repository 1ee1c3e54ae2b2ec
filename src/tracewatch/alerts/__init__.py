"""Who is told what: rules are read, matched and decided on here, and what is to be told is put on its way once."""
