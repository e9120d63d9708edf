"""The target role: the only source of truth about which token comes next."""
