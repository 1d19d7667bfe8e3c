"""Real numbers as intervals of integers: what functions are, to as many bits as are asked for."""
