"""The optimizer behind use_apollo: gradients scaled as Adam in few dimensions would."""
