"""What the subcommands of ``dlngeom`` do, one module each."""
