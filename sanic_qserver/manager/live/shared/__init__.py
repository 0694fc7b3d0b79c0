"""The live data of replicas: one of them follows RE Manager and writes into Redis, all serve from there."""
