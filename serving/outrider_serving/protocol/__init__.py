"""The draft stream: generated messages and their conversion to the engine's types."""
