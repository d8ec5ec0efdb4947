"""Kernels in C, compiled for this machine when they are first needed; without a compiler torch does the work."""

from twotower.native.library import NativeStatus, kernel_names, native_library, native_status

__all__ = ["NativeStatus", "kernel_names", "native_library", "native_status"]
