"""Outrider's two servers: the target, which decides every token, and the draft, which runs ahead of it."""
