"""Readers: samples in folders, arrays, Parquet, shards and hub data sets, all behind one interface."""
