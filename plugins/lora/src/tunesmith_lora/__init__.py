"""The tuner lora: low-rank adapters by peft."""
