"""A cloud's end of gRPC: the server in its event loop, and the handlers of calls."""
