"""The quantizer awq: reads models that AWQ has quantised."""
