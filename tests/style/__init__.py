"""Style: how the code looks, which tools accept it, and that its documents say what is true."""
