"""The SpeculativeModel: its typed view (generated), and what is checked of it."""
