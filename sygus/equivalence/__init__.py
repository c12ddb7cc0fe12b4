"""Which terms are equal: fingerprints to suspect it, one symbolic channel and pixel to state it, cvc5 to prove it."""
