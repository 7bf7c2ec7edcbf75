"""Bedrock: light curves, configuration, provenance and protocols; imports numpy, pyarrow, omegaconf, stdlib only."""
