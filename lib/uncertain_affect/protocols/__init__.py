"""How each paper trains and evaluates: settings per profile, and the cached work its notebooks share."""
