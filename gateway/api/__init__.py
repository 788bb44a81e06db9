"""The wire: HTTP and gRPC in front of one data plane."""
