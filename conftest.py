"""Settings of every test, doctests included."""

import os

import torch

from twotower.native import kernel_names, native_status
from twotower.native.compiler import find_compiler

if find_compiler() is None:  # a warning of it is an error in a test
    os.environ["TWOTOWER_NATIVE"] = "0"
for name in kernel_names():  # compiled before a test that has a deadline asks for it
    native_status(name)

# the tests' tensors are tiny: more threads would only wait for each other, the longer the busier the machine is
torch.set_num_threads(1)
