"""The draft role: proposes token trees for the sequences of one or more targets."""
