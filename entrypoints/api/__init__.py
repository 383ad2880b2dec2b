"""The HTTP API: the ledger's batches and runs for other programs; what it may do, the command line may do too."""
