"""What tensor cores compute, one instruction at a time, beside refnum's model of them.

``instructions`` are run, or modelled; ``operands`` tell models apart; ``measures`` ask for one property each;
``comparison`` is of bits, also with
``others``. The script ``probe_tc.py`` does all of it.
"""
