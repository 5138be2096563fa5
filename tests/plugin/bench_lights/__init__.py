"""Traffic lights for rtbench. The entry point names this package; rtbench imports the modules in it."""
