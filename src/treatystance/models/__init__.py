"""Model families, one file each, under the contract in `base`."""
