"""Reading and printing SyGuS-IF: lark's grammar, the parse tree, names resolved to typed terms."""
