"""What a run is told and what it leaves: config, record, store."""
