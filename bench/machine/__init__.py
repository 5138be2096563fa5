"""The machine underneath: compiled loops, threads, memory, processes, and where files go."""
