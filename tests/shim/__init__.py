"""The CUDA kernels as C++ for the CPU, for tests where there is no GPU.

`cuda_runtime.h` here stands in for nvcc's: `cuda/gpu` is compiled as it is, and the threads of a
block take turns (`shim.cpp`). What CUB does is done by the standard library (`sorting.cpp`). Seen
are indices, barriers, races, shared memory that nobody has written, and every number to a rounding;
not seen are time, memory's order within a warp, and the hardware's own exponentials.
"""
