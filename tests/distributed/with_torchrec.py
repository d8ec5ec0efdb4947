"""Imported to have TorchRec imported."""

from twotower.distributed.torchrec_library import torchrec_library

torchrec_library()
