"""The optimizer behind use_muon: orthogonalised momentum for matrices, AdamW for the rest."""
