"""Settings of every test, doctests included."""

import os

import torch

from twotower.native.compiler import find_compiler

if find_compiler() is None:  # a warning of it is an error in a test
    os.environ["TWOTOWER_NATIVE"] = "0"

# the tests' tensors are tiny: more threads would only wait for each other, the longer the busier the machine is
torch.set_num_threads(1)
