"""IRSA, the public archive of ZTF."""
