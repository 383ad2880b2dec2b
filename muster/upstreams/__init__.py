"""The outside services, one file each, over one way out (`caller`) and one table of outcomes (`answers`)."""
