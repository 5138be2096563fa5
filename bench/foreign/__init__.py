"""Code that others wrote: its source as a digest, what it raises, what it changes."""
