"""What other people's implementations get wrong, with operands. A pinned row that comes out right is an error."""
