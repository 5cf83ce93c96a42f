"""The quantizers fp8 and mxfp4: read models that were published in these formats."""
