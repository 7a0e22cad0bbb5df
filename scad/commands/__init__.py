"""One module a command. Each has `register(app)`; what is heavy is imported inside the command itself."""
