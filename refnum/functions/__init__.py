"""Functions of real numbers on tensors of codes, correctly rounded in every scalar format."""
