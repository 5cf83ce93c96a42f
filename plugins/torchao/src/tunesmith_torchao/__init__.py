"""The quantizer torchao: weights in eight or four bits, and training that is aware of them."""
