"""What the theories of SMT-LIB offer: their sorts and functions as tables, and which of them a logic has."""
