"""Does TSLoss help? Runs on real models, one JSON each, and the report made from these."""
