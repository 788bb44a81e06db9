"""One file = one serving system that shelved variants are written for; the file's name is its key.

Each holds `write(store, variant, model, out) -> Path`, the folder made of one variant under `out`.
"""
