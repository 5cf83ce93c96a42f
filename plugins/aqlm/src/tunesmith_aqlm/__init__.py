"""The quantizer aqlm: reads models that AQLM has quantised."""
