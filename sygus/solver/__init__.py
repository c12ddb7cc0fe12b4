"""cvc5 in a process of its own, what is said to it, and the same queries as files."""
