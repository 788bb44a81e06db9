"""Pure choice: which variant answers a request."""
