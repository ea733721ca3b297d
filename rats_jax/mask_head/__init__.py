"""A mask head on registers: each register says what object or class it is, and where (JAX)."""
