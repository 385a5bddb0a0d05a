"""What led to each answer, what people said of it, and both as data to learn and measure from."""
