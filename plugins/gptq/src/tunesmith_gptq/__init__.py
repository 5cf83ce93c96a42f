"""The quantizer gptq: reads models that GPTQ has quantised."""
