"""Settings of every test, doctests included."""

import torch

# the tests' tensors are tiny: more threads would only wait for each other, the longer the busier the machine is
torch.set_num_threads(1)
