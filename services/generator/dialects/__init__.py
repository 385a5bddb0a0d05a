"""The doors for clients that speak another language than ours: OpenAI's, and WebSocket."""
