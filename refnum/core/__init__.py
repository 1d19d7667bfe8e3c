"""The waist that every format goes through, in the order the data takes: decode, exact, pack, round."""
