"""What the corruptions are made of: filters, warps, zooms and noise fields, compiled for a CPU or on whole batches."""
