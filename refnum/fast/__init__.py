"""The same bits sooner. Each file names the definition in ``core`` that it must equal."""
