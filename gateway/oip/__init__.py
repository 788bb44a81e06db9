"""Open Inference Protocol v2 messages, to and from our records."""
