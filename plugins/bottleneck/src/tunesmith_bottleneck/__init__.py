"""The tuner adapter: small networks with a narrow middle inside every layer."""
