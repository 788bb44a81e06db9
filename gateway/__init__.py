"""Online: answers OIP v2 requests from the cheapest variant that meets each SLO."""
